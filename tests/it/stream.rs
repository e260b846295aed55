//! A reply as a stream of events.

use std::io::Read;
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use serde_json::json;

use crate::support::mock_server::{
    Server, Step, chunk, delta, event, event_stream_head, events, http, message, raw_http,
    unfinished_stream,
};
use crate::support::{MALFORMED, TRUNCATED, ask, check, one_line, process, stdout};

const STREAM: (&str, &str) = ("content-type", "text/event-stream");

/// The events of a reply `half` up to its text.
fn half() -> Vec<String> {
    let mut half = events(&["half"], "end_turn");
    half.truncate(4);
    half
}

#[track_caller]
fn read(events: &[impl AsRef<[u8]>]) -> Assert {
    ask(&Server::events(events), &["--stream", "hi"])
}

#[test]
fn deltas_are_joined() {
    read(&events(&["Hel", "lo", "", " wörld"], "end_turn")).success().stdout("Hello wörld\n");
    read(&events(&["line\n"], "end_turn")).success().stdout("line\n");
}

#[test]
fn the_content_type_decides_whether_it_is_a_stream() {
    let all = events(&["a", "b"], "end_turn");
    let upper_case = [("content-type", "Text/Event-Stream;charset=UTF-8")];
    let upper_case = raw_http(200, &upper_case, all.concat());
    // What is plainly no stream is read as what it is.
    let json = format!("\u{feff} {}", message("ab", "end_turn"));
    for (server, option) in [
        (Server::events(&all), "--no-stream"),
        (Server::message("ab", "end_turn"), "--stream"),
        (Server::sending(upper_case), "-n"),
        (Server::sending(http(200, &[STREAM], json)), "--stream"),
    ] {
        ask(&server, &[option, "hi"]).success().stdout("ab\n");
    }
}

#[test]
fn chunk_boundaries_and_line_breaks_do_not_matter() {
    let lf = format!("\u{feff}: comment\n\n{}", events(&["Hel", "lö"], "end_turn").concat());
    for (stream, size) in
        [(lf.clone(), 1), (lf.replace('\n', "\r\n"), 3), (lf.replace('\n', "\r"), 64)]
    {
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        read(&pieces).success().stdout("Hellö\n");
    }
}

#[test]
fn only_text_deltas_are_printed_and_unknown_events_ignored() {
    let mut all = events(&["text"], "end_turn");
    let others = [
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": "no"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": "no"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "no"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"no"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "citations_delta", "citation": {"text": "no"}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "unknown_delta", "text": "no"}}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "text", "text": " and more"}}),
        json!({"type": "unknown", "delta": "of another shape", "message": 7}),
        json!({"type": "ping", "delta": null}),
    ];
    let malformed = [
        "id: 7\nretry: 10\n\n",
        "event: ping\ndata\n\n",
        "event: unknown\ndata: not JSON at all\n\n",
    ];
    let others = others.iter().map(event).chain(malformed.map(String::from));
    all.splice(4..4, others);
    read(&all).success().stdout("text\n\n and more\n");
}

#[test]
fn data_on_several_lines_is_one_event() {
    let mut all = events(&["a"], "end_turn");
    all.insert(4, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\ndata:  \"delta\":{\"type\":\"text_delta\",\ndata: \"text\":\"b\"}}\n\n".into());
    read(&all).success().stdout("ab\n");
    let line = "{\"type\":\"content_block_delta\",  \"delta\":{\"type\":\"text_delta\", \"text\":\"b\"}}\n";
    ask(&Server::events(&all), &["--json", "--stream", "hi"]).success().stdout(contains(line));
}

#[test]
fn the_event_field_stands_in_for_a_missing_type() {
    let mut all = events(&["a"], "end_turn");
    all.insert(4, "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n".into());
    read(&all).success().stdout("ab\n");
}

#[test]
fn a_stream_without_message_stop_is_truncated() {
    let all = events(&["half of", " it"], "end_turn");
    for end in 0..all.len() {
        let printed = match end {
            0..=3 => "",
            4 => "half of",
            _ => "half of it",
        };
        read(&all[..end]).code(4).stdout(printed).stderr(one_line(&[TRUNCATED]));
    }
    // An event counts only after the blank line that ends it.
    let all = all.concat();
    read(&[&all[..all.len() - 1]]).code(4).stdout("half of it").stderr(one_line(&[TRUNCATED]));
}

#[test]
fn a_stream_cut_off_within_its_chunks_is_not_retried() {
    let endless_size = format!("5;{}", "x".repeat(70_000));
    for (tail, printed, part) in [
        ("", "half", TRUNCATED),
        ("5\r\nab", "half", TRUNCATED),
        ("5", "half", TRUNCATED),
        ("not a chunk\r\n", "", MALFORMED),
        (&endless_size, "half", MALFORMED),
    ] {
        let mut bytes = unfinished_stream("half");
        bytes.extend_from_slice(tail.as_bytes());
        let server = Server::sending(bytes);
        ask(&server, &["--stream", "hi"])
            .code(4)
            .stdout(starts_with(printed))
            .stderr(one_line(&[part]));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn nothing_after_message_stop_matters() {
    let all = events(&["done"], "end_turn").concat();
    let open = [event_stream_head(), chunk(&all)].concat();
    let server = Server::always(vec![Step::Send(open), Step::Hold]);
    ask(&server, &["--stream", "--timeout", "20", "hi"]).success().stdout("done\n");
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "late"}});
    read(&[all + &event(&error) + &event(&delta("late"))]).success().stdout("done\n");
}

#[test]
fn an_error_event_in_any_shape_is_reported() {
    for error in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Broke\\ndown\"}}\n\n",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Broke down\"}}\n\n",
        "event: error\ndata: {\"error\":{\"message\":\"Broke down\"}}\n\n",
        "event: error\ndata: Broke down\n\n",
    ] {
        let mut all = half();
        all.push(error.into());
        read(&all).code(4).stdout("half").stderr(one_line(&["Broke down"]));
    }
}

#[test]
fn the_last_event_says_why_however_the_stream_ends() {
    let error = json!({"type": "error", "error": {"type": "authentication_error", "message": "Who are you"}});
    let body = half()[..3].concat() + event(&error).trim_end() + "\n";
    for response in [
        raw_http(200, &[STREAM], &body),
        raw_http(200, &[STREAM, ("content-length", "9999")], &body),
        [event_stream_head(), chunk(&body)].concat(),
    ] {
        ask(&Server::sending(response), &["--stream", "hi"])
            .code(3)
            .stdout("")
            .stderr(one_line(&["Who are you"]));
    }
}

#[test]
fn a_malformed_event_of_the_reply_is_an_error() {
    for malformed in [
        &b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_del\n\n"[..],
        b"event: content_block_delta\ndata: <html>\n\n",
        b"data: <html>\n\n",
        b"data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"\xff\"}}\n\n",
    ] {
        let half = half().concat();
        read(&[half.as_bytes(), malformed]).code(4).stdout("half").stderr(one_line(&[MALFORMED]));
    }
}

#[test]
fn json_prints_the_data_of_each_event_as_one_line() {
    let all = events(&["a", "b"], "end_turn");
    let data = |event: &String| event.lines().nth(1).unwrap()["data: ".len()..].to_owned() + "\n";
    let lines: String = all.iter().map(data).collect();
    let server = Server::events(&all);
    for option in ["--stream", "--no-stream"] {
        ask(&server, &["--json", option, "hi"]).success().stdout(lines.clone());
    }
}

#[test]
fn json_prints_nothing_when_the_call_fails_before_the_first_text() {
    let mut all = half();
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "Broke down"}});
    all[3] = event(&error);
    ask(&Server::events(&all), &["--json", "--stream", "hi"])
        .code(4)
        .stdout("")
        .stderr(one_line(&["Broke down"]));
    // However much comes before it.
    all[2] = format!("event: ping\ndata: \"{}\"\n\n", "x".repeat(100_000));
    let server = Server::events(&all);
    ask(&server, &["--json", "--stream", "hi"]).code(4).stdout("");
}

#[test]
fn the_http_status_decides_also_for_a_stream() {
    let error = json!({"type": "error", "error": {"type": "authentication_error", "message": "Who are you"}});
    let server = Server::sending(http(401, &[STREAM], event(&error)));
    ask(&server, &["--stream", "hi"]).code(3).stderr(one_line(&["HTTP 401", "Who are you"]));
}

#[test]
fn a_blank_stream_is_unfinished() {
    for (pieces, printed) in [(&["", " \n"][..], " \n"), (&[], "")] {
        read(&events(pieces, "end_turn")).code(5).stdout(printed).stderr(one_line(&["no text"]));
    }
}

#[test]
fn each_delta_is_printed_at_once() {
    let rest = &events(&["first", " second"], "end_turn")[4..];
    let server = Server::always(vec![
        Step::Send(unfinished_stream("first")),
        Step::Wait(Duration::from_secs(2)),
        Step::Send([chunk(rest.concat()), chunk("")].concat()),
    ]);
    let mut child = process(&server).args(["--stream", "hi"]).spawn().unwrap();
    let mut first = [0; 64];
    let length = child.stdout.as_mut().unwrap().read(&mut first).unwrap();
    assert_eq!(&first[..length], b"first");
    assert_eq!(child.try_wait().unwrap(), None, "ended before the rest came");
    check(child.wait_with_output().unwrap()).success().stdout(" second\n").stderr("");
}

/// A delta whose text is this JSON, escapes included.
fn raw_delta(text: &str) -> String {
    event(&delta("TEXT")).replace("TEXT", text)
}

#[test]
fn a_character_split_between_deltas_comes_out_whole() {
    for (texts, expected) in [
        ([r"a\ud83e", r"\udd80b"], "a🦀b\n"),
        ([r"a\ud83e", "b"], "a\u{fffd}b\n"),
        (["a", r"\udd80b\ud83e"], "a\u{fffd}b\u{fffd}\n"),
    ] {
        let mut all = events(&[], "end_turn");
        all.splice(3..3, texts.map(raw_delta));
        read(&all).success().stdout(expected);
        ask(&Server::events(&all), &["--json", "--stream", "hi"])
            .success()
            .stdout(contains(texts[0]).and(contains(texts[1])));
    }
}

#[test]
fn text_is_not_lost_with_a_blank_line() {
    let data = delta("lost");
    for event in [
        format!("event: content_block_stop\ndata: {{}}\ndata: {data}\n\n"),
        format!(
            "event: content_block_stop\ndata: {{}}\nevent: content_block_delta\ndata: {data}\n\n"
        ),
        format!("event: message_new\ndata: {{}}\ndata: {data}\n\n"),
        "event: message\ndata: lost\n\n".into(),
        "event: content_block_delta\ndata:\n\n".into(),
    ] {
        let mut all = events(&["text"], "end_turn");
        all.insert(4, event);
        read(&all).code(4).stdout("text").stderr(one_line(&[MALFORMED]));
    }
}

#[test]
fn an_event_named_message_counts_as_unnamed() {
    let all = events(&["te", "xt"], "end_turn");
    let rename = |event: &String| {
        let (_, data) = event.split_once('\n').unwrap();
        format!("event: message\n{data}")
    };
    read(&all.iter().map(rename).collect::<Vec<_>>()).success().stdout("text\n");
}

#[test]
fn odd_values_beside_the_text_do_not_spoil_a_stream() {
    let mut all = events(&["text"], "end_turn");
    let odd = [
        "event: message_start\ndata: 7\n\n",
        "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":[]}}}\n\n",
        "event: message_delta\ndata: {\"delta\":7,\"usage\":{\"output_tokens\":1e99}}\n\n",
        "event: content_block_start\ndata: {\"content_block\":{\"type\":7,\"text\":null}}\n\n",
        "event: content_block_delta\ndata: {\"delta\":{\"type\":\"x\",\"text\":null}}\n\n",
        "data:\n\n",
        "data\n\n",
        "event: message\ndata: \n\n",
        "event: ping\ndata: {\"type\":\n\n",
    ];
    all.splice(3..3, odd.map(String::from));
    for options in [&["--stream"][..], &["--json", "--stream"], &[]] {
        ask(&Server::events(&all), &[options, &["hi"]].concat()).success().stdout(contains("text"));
    }
}

#[test]
fn a_blank_line_separates_text_blocks_with_others_between() {
    let start = |kind: &str| {
        event(&json!({"type": "content_block_start", "content_block": {"type": kind}}))
    };
    let mut all = events(&[], "end_turn");
    let blocks = [
        start("text"),
        event(&delta("Shannon was born.")),
        start("server_tool_use"),
        start("web_search_tool_result"),
        start("text"),
        event(&delta("")),
        start("text"),
        event(&delta("Based ")),
        start("text"),
        event(&delta("on")),
        start("tool_use"),
    ];
    all.splice(1..3, blocks);
    read(&all).success().stdout("Shannon was born.\n\nBased on\n");
}

#[test]
fn a_stream_that_was_not_requested_is_held_until_it_is_whole() {
    let all = events(&["first", " second"], "end_turn");
    let server = Server::always(vec![
        Step::Send(unfinished_stream("first")),
        Step::Wait(Duration::from_secs(1)),
        Step::Send([chunk(all[4..].concat()), chunk("")].concat()),
    ]);
    for (option, part) in [("-n", "irst second\n"), ("--json", "message_stop")] {
        let mut child = process(&server).args([option, "hi"]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut text = String::new();
        let start = Instant::now();
        stdout.read_exact(&mut [0]).unwrap();
        assert!(start.elapsed() > Duration::from_millis(800), "printed before the end");
        stdout.read_to_string(&mut text).unwrap();
        assert!(text.contains(part), "{text}");
        check(child.wait_with_output().unwrap()).success().stderr("");
    }
}

#[test]
fn a_failed_stream_that_was_not_requested_prints_nothing() {
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "Broke down"}});
    let broken = [half(), vec![event(&error)]].concat();
    for (server, part) in [
        (Server::events(&half()), TRUNCATED),
        (Server::events(&broken), "Broke down"),
        (Server::sending(unfinished_stream("half")), TRUNCATED),
        (Server::events(&[half().concat() + "data: x\n\n"]), MALFORMED),
    ] {
        for option in ["--no-stream", "--json"] {
            ask(&server, &[option, "hi"]).code(4).stdout("").stderr(one_line(&[part]));
        }
    }
}

#[test]
fn a_control_character_within_a_string_is_not_json() {
    let whole = events(&["a"], "end_turn");
    for control in ["\t", "\u{1}", "\u{1f}", "\ndata: "] {
        for malformed in [
            raw_delta(&format!("b{control}c")),
            format!(
                "data: {{\"type\":\"content_block_delta\",\"a{control}\":1,\"delta\":{{\"type\":\"x\"}}}}\n\n"
            ),
            format!("data: {{\"type\":\"x\",\"a\":\"b{control}\"}}\n\n"),
        ] {
            let mut all = whole.clone();
            all.insert(4, malformed);
            let server = Server::events(&all);
            ask(&server, &["--stream", "hi"]).code(4).stdout("a").stderr(one_line(&[MALFORMED]));
            let result = ask(&server, &["--json", "--stream", "hi"]);
            let result = result.code(4).stderr(one_line(&[MALFORMED]));
            assert_eq!(stdout(&result).lines().count(), 4);
        }
    }
}

#[test]
fn an_unnamed_event_reports_an_error_but_a_ping_does_not() {
    for data in [
        r#"{"error":"reason"}"#,
        r#"{"errors":[{"message":"reason"}]}"#,
        r#"{"type":"unknown","error":{"message":"reason"}}"#,
    ] {
        for name in ["", "event: message\n"] {
            let mut all = half();
            all.push(format!("{name}data: {data}\n\n"));
            read(&all).code(4).stdout("half").stderr(one_line(&["reason"]));
        }
    }
    let mut all = events(&["text"], "end_turn");
    all.insert(4, "data: {\"type\":\"ping\",\"error\":\"x\"}\n\n".into());
    all.insert(4, "data: {\"errors\":[],\"error\":null}\n\n".into());
    all.insert(4, "event: news\ndata: {\"errors\":[{\"message\":\"x\"}]}\n\n".into());
    read(&all).success().stdout("text\n");
}
