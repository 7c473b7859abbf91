//! Half a minute of faults. Longer runs, with all of them: `just chaos`.

use std::process::Command;

#[test]
fn no_promise_is_broken_in_half_a_minute_of_faults() {
    let chaos = Command::new(env!("CARGO_BIN_EXE_adit-chaos"))
        .args(["short", "--seed", "1", "--minutes", "0.5", "--rate", "30"])
        .output()
        .unwrap();
    let (told, complaints) = (String::from_utf8_lossy(&chaos.stdout), String::from_utf8_lossy(&chaos.stderr));
    assert!(chaos.status.success(), "{told}\n{complaints}");
    assert!(told.contains("| SIGKILL of a client; another client takes over | 1 |"), "{told}");
}
