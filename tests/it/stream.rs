//! A reply as a stream of events.

use serde_json::json;

use crate::server::{
    Server, Step, chunk, delta, event, event_stream, event_stream_head, events, head, http,
    json_response, message,
};
use crate::{Run, ask, process};

fn stream(events: &[impl AsRef<[u8]>]) -> Server {
    Server::sending(event_stream(events))
}

fn text(events: &[impl AsRef<[u8]>]) -> Run {
    ask(&stream(events), &["--stream", "hi"])
}

#[test]
fn deltas_are_joined() {
    text(&events(&["Hel", "lo", "", " wörld"], "end_turn"))
        .ends(0)
        .quiet()
        .prints("Hello wörld\n");
    text(&events(&["line\n"], "end_turn"))
        .ends(0)
        .prints("line\n");
}

#[test]
fn the_content_type_decides() {
    // Nobody asked for a stream, and one came; one was asked for, and JSON came.
    let server = stream(&events(&["a", "b"], "end_turn"));
    ask(&server, &["--no-stream", "hi"])
        .ends(0)
        .quiet()
        .prints("ab\n");
    let server = Server::sending(json_response(200, message("ab", "end_turn").to_string()));
    ask(&server, &["--stream", "hi"])
        .ends(0)
        .quiet()
        .prints("ab\n");
    let mut odd = head(200, &[("content-type", "Text/Event-Stream;charset=UTF-8")]);
    odd.extend_from_slice(b"\r\n");
    odd.extend(events(&["x"], "end_turn").concat().bytes());
    ask(&Server::sending(odd), &["hi"]).ends(0).prints("x\n");
}

#[test]
fn line_ends_and_splits_make_no_difference() {
    let lf = format!(
        "\u{feff}: comment\n\n{}",
        events(&["Hel", "lö"], "end_turn").concat()
    );
    for stream in [
        lf.clone(),
        lf.replace('\n', "\r\n"),
        lf.replace('\n', "\r"),
        lf.replace("data: ", "data:"),
    ] {
        for size in [1, 2, 3, 7, 64, 100_000] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            text(&pieces).ends(0).quiet().prints("Hellö\n");
        }
    }
}

#[test]
fn every_delta_type_and_unknown_events() {
    let mut all = events(&["text"], "end_turn");
    let odd = [
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": "no"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": "no"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "no"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"no"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "citations_delta", "citation": {"text": "no"}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "someday_delta", "text": "no"}}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "text", "text": " and more"}}),
        json!({"type": "someday", "delta": "of another shape", "message": 7}),
        json!({"type": "ping", "delta": null}),
    ];
    for (i, data) in odd.iter().enumerate() {
        all.insert(4 + i, event(data));
    }
    all.insert(4, "event: someday\ndata: not JSON at all\n\n".into());
    all.insert(4, "event: ping\ndata\n\n".into());
    all.insert(4, "id: 7\nretry: 10\n\n".into());
    text(&all).ends(0).quiet().prints("text and more\n");
}

#[test]
fn data_on_several_lines_is_one_event() {
    let mut all = events(&["a"], "end_turn");
    all.insert(4, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\ndata:  \"delta\":{\"type\":\"text_delta\",\ndata: \"text\":\"b\"}}\n\n".into());
    text(&all).ends(0).quiet().prints("ab\n");
    let server = stream(&all);
    let run = ask(&server, &["--json", "--stream", "hi"]).ends(0);
    assert!(run.out.contains("{\"type\":\"content_block_delta\",  \"delta\":{\"type\":\"text_delta\", \"text\":\"b\"}}\n"), "{run:?}");
}

#[test]
fn the_event_field_names_what_has_no_type() {
    let mut all = events(&["a"], "end_turn");
    all.insert(4, "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n".into());
    text(&all).ends(0).prints("ab\n");
}

#[test]
fn an_end_without_message_stop_is_a_cut() {
    let whole = events(&["half of", " it"], "end_turn");
    for end in 0..whole.len() {
        let out = match end {
            0..=3 => "",
            4 => "half of",
            _ => "half of it",
        };
        text(&whole[..end]).ends(4).prints(out).says(&["cut off"]);
    }
    // The last event counts only once an empty line has closed it.
    let unclosed = whole.concat();
    text(&[&unclosed[..unclosed.len() - 1]])
        .ends(4)
        .prints("half of it")
        .says(&["cut off"]);
}

#[test]
fn a_connection_that_breaks_is_a_cut() {
    let mut bytes = event_stream_head();
    for piece in &events(&["half"], "end_turn")[..4] {
        bytes.extend(chunk(piece));
    }
    for tail in ["", "5\r\nab", "5"] {
        let mut cut = bytes.clone();
        cut.extend_from_slice(tail.as_bytes());
        let server = Server::sending(cut);
        ask(&server, &["--stream", "hi"])
            .ends(4)
            .prints("half")
            .says(&["cut off"]);
        assert_eq!(server.requests().len(), 1, "paid for once");
    }
    bytes.extend_from_slice(b"no chunk\r\n");
    let server = Server::sending(bytes);
    ask(&server, &["--stream", "hi"]).ends(4).says(&["garbled"]);
    assert_eq!(server.requests().len(), 1, "paid for once");
}

#[test]
fn message_stop_is_the_end_whatever_follows() {
    let mut bytes = event_stream_head();
    bytes.extend(chunk(events(&["done"], "end_turn").concat()));
    let server = Server::always(vec![Step::Send(bytes), Step::Hold]);
    ask(&server, &["--stream", "--timeout", "20", "hi"])
        .ends(0)
        .quiet()
        .prints("done\n");
    let mut all = events(&["done"], "end_turn");
    all.push(event(
        &json!({"type": "error", "error": {"type": "api_error", "message": "late"}}),
    ));
    all.push(event(&delta("late")));
    text(&[all.concat()]).ends(0).quiet().prints("done\n");
}

#[test]
fn an_error_event_is_a_failure() {
    for error in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Broke\\ndown\"}}\n\n",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Broke down\"}}\n\n",
        "event: error\ndata: {\"error\":{\"message\":\"Broke down\"}}\n\n",
        "event: error\ndata: Broke down\n\n",
    ] {
        let mut all = events(&["half"], "end_turn");
        all.truncate(4);
        all.push(error.into());
        text(&all).ends(4).prints("half").says(&["Broke down"]);
    }
}

#[test]
fn a_garbled_event_is_a_failure() {
    for garbled in [
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_del\n\n",
        "event: content_block_delta\ndata: <html>\n\n",
        "data: <html>\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":7}\n\n",
    ] {
        let mut all = events(&["half"], "end_turn");
        all.insert(4, garbled.into());
        text(&all).ends(4).prints("half").says(&["garbled"]);
    }
    let mut bad = b"data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"\xff\"}}\n\n".to_vec();
    bad.splice(0..0, events(&["half"], "end_turn")[..4].concat().bytes());
    text(&[bad]).ends(4).prints("half").says(&["garbled"]);
}

#[test]
fn json_lines_are_the_data_as_it_came() {
    let all = events(&["a", "b"], "end_turn");
    let mut lines = String::new();
    for event in &all {
        let data = event
            .lines()
            .nth(1)
            .unwrap()
            .strip_prefix("data: ")
            .unwrap();
        lines += &format!("{data}\n");
    }
    let server = stream(&all);
    ask(&server, &["--json", "--stream", "hi"])
        .ends(0)
        .quiet()
        .prints(&lines);
    ask(&server, &["--json", "hi"])
        .ends(0)
        .quiet()
        .prints(&lines);
}

#[test]
fn json_lines_of_a_call_that_fails_at_once_are_none() {
    let mut all = events(&["a"], "end_turn");
    all.truncate(3);
    all.push(event(
        &json!({"type": "error", "error": {"type": "api_error", "message": "Broke down"}}),
    ));
    ask(&stream(&all), &["--json", "--stream", "hi"])
        .ends(4)
        .prints("")
        .says(&["Broke down"]);
    let server = Server::sending(json_response(401, "{}"));
    ask(&server, &["--json", "--stream", "hi"])
        .ends(3)
        .prints("");
}

#[test]
fn a_stream_that_is_refused_is_refused() {
    let body = event(
        &json!({"type": "error", "error": {"type": "authentication_error", "message": "Who are you"}}),
    );
    let server = Server::sending(http(401, &[("content-type", "text/event-stream")], body));
    ask(&server, &["--stream", "hi"])
        .ends(3)
        .prints("")
        .says(&["HTTP 401", "Who are you"]);
}

#[test]
fn a_blank_stream_is_no_answer() {
    text(&events(&["", " \n"], "end_turn"))
        .ends(5)
        .prints(" \n")
        .says(&["no text"]);
    text(&events(&[], "end_turn"))
        .ends(5)
        .prints("")
        .says(&["no text"]);
}

#[test]
fn text_follows_each_delta_at_once() {
    use std::io::Read;
    use std::process::Stdio;
    use std::time::Duration;

    let all = events(&["first", " second"], "end_turn");
    let mut steps = vec![Step::Send(event_stream_head())];
    for piece in &all[..4] {
        steps.push(Step::Send(chunk(piece)));
    }
    // The rest comes only long after the first text must have been seen.
    steps.push(Step::Wait(Duration::from_secs(2)));
    steps.push(Step::Send(chunk(all[4..].concat())));
    let server = Server::always(steps);
    let mut child = process(&server)
        .args(["--stream", "hi"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 64];
    let length = out.read(&mut first).unwrap();
    assert_eq!(&first[..length], b"first");
    assert_eq!(
        child.try_wait().unwrap(),
        None,
        "it was still waiting for the rest"
    );
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " second\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
