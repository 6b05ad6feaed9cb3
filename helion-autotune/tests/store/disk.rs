//! Disks that are full, and folders that may not be written.
//!
//! A small disk of its own needs `unshare` and the right to mount in it; where that is missing the process is forbidden
//! to make large files instead. The lines that are printed say which.

use super::child::start;
use super::{Folder, key, point, say, sound};
use std::process::Command;

/// Runs a command in which folders can be mounted and nobody else sees it.
const MOUNTING: [&str; 5] = ["unshare", "--map-root-user", "--mount", "sh", "-c"];

/// Whether folders can be mounted here.
fn can_mount() -> bool {
    let dir = Folder::new("mount");
    let script = "mount -t tmpfs -o size=64k none \"$STORE_DIR\" && mount -o remount,ro \"$STORE_DIR\"";
    let [program, rest @ ..] = MOUNTING;
    Command::new(program).args(rest).arg(script).env("STORE_DIR", &dir.0).output().is_ok_and(|o| o.status.success())
}

/// Fills the disk; nothing that was acknowledged may be missing.
fn fill(how: &str, wrapper: &[&str]) {
    let dir = Folder::new("full");
    let (said, well) = start(wrapper, "fill", &dir.0, 0).finish();
    assert!(well, "{how}: {said:?}");
    let words: Vec<usize> = said[0].split(' ').map(|w| w.parse().expect("a number")).collect();
    let [acknowledged, kept, refused] = words[..] else { panic!("{said:?}") };
    assert!(acknowledged == kept && acknowledged > 0 && refused > 0, "{how}: {words:?}");
    say(&format!("a full disk ({how}): {acknowledged} acknowledged puts, 0 lost, {refused} refused with an error"));
}

#[test]
fn full_disks_lose_nothing() {
    // A limit on the size of files refuses writes in the middle, as a full disk does.
    fill("a limit of 32 KiB on files", &["sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]);
    if can_mount() {
        let script = "mount -t tmpfs -o size=64k none \"$STORE_DIR\" && exec \"$0\" \"$@\"";
        fill("a file system of 64 KiB", &[&MOUNTING[..], &[script]].concat());
    } else {
        say("a full disk: no right to mount one here, so only the limit on files was tested");
    }
}

#[test]
fn read_only_folders_are_read() {
    const RECORDS: u64 = 20;
    let dir = Folder::new("read-only");
    for n in 0..RECORDS {
        sound(&dir.0).put(&key(n), point(n, n)).expect("a writable folder");
    }
    let script =
        "mount --bind \"$STORE_DIR\" \"$STORE_DIR\" && mount -o remount,bind,ro \"$STORE_DIR\" && exec \"$0\" \"$@\"";
    let mount = [&MOUNTING[..], &[script]].concat();
    let (how, wrapper): (&str, &[&str]) = if can_mount() {
        ("mounted for reading only", &mount)
    } else {
        ("without permission to write", &["sh", "-c", "chmod -R a-w \"$STORE_DIR\"; exec \"$0\" \"$@\""])
    };
    let (said, well) = start(wrapper, "locked-out", &dir.0, RECORDS).finish();
    let _ = Command::new("chmod").args(["-R", "u+w"]).arg(&dir.0).status();
    assert!(well, "{how}: {said:?}");
    let refused: u64 = said[0].parse().expect("a number");
    // Permissions do not bind the superuser, who can then write; there is nothing to test without a mount.
    assert!(refused == 4 * RECORDS + 2 || how.starts_with("without"), "{refused}");
    say(&format!("a folder {how}: {RECORDS} records read, {refused} writes refused with an error, nothing changed"));
}
