//! Any bytes, split anywhere, give the events that they give as a whole.

#![no_main]

#[path = "../../src/response/sse.rs"]
mod sse;

use libfuzzer_sys::fuzz_target;

type Events = Vec<(Vec<u8>, Vec<u8>)>;

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Events {
    let mut parser = sse::Parser::default();
    let mut events = Events::new();
    for piece in pieces {
        let fed = parser.feed(piece, |event| {
            events.push((event.name.to_vec(), event.data.to_vec()));
            Ok::<(), sse::TooLong>(())
        });
        assert!(fed.is_ok(), "no input of a fuzzer is so long");
    }
    events
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = events(std::iter::once(bytes));
    assert_eq!(events(bytes.chunks(usize::from(size).max(1))), whole);
    for (_, data) in whole {
        assert!(!data.contains(&b'\r'));
    }
});
