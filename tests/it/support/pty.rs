//! Pseudo-terminals: what the program writes to them, and the screen that this leaves.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

/// The two ends of a terminal that passes output on unchanged.
pub fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let mut options = File::options();
    let slave = options.read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut modes = tcgetattr(&slave).unwrap();
    modes.output_modes &= !OutputModes::OPOST;
    tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
    (File::from(master), slave)
}

/// Everything that was written to the terminal. Once nothing has it open any more, reading fails.
pub fn read_all(mut master: File) -> String {
    let mut bytes = Vec::new();
    let _ = master.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// The rows of a terminal of `columns` that are not empty, once it has been sent `bytes`.
pub fn screen(bytes: &str, columns: u16) -> Vec<String> {
    let (rows, width) = (NonZero::new(24).unwrap(), NonZero::new(columns).unwrap());
    let mut parser = vt100::Parser::new(rows, width, 0);
    parser.process(bytes.replace('\n', "\r\n").as_bytes());
    let rows = parser.screen().rows(0, columns);
    rows.filter(|row| !row.is_empty()).collect()
}
