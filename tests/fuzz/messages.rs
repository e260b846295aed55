//! Any text of `--messages` is a conversation whose messages are unchanged, or an error in one line.

#![no_main]
#![allow(dead_code)]

include!("modules.rs");

use libfuzzer_sys::fuzz_target;

use input::conversation::Conversation;

fuzz_target!(|text: &str| {
    match Conversation::parse(text, "--messages x") {
        Ok(conversation) => {
            for message in &conversation.messages {
                assert!(text.contains(message.get()));
            }
        }
        Err(error) => {
            let line = format!("{error:#}");
            assert!(line.starts_with("--messages x") && line.chars().count() < 300, "{line}");
            for words in ["invalid type", "missing field", "unknown variant", "expected struct"] {
                assert!(!line.contains(words) || text.contains(words), "serde's words: {line}");
            }
        }
    }
});
