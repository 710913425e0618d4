//! The scripts that run on boards, judged by others.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::Project;
use crate::common::live::eventually;

#[test]
fn shellcheck_finds_nothing() {
    let project = Project::new();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deploy/remote");
    // Each script runs behind the prelude, whose variables and functions it uses.
    let mut scripts = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let prelude =
            if path.ends_with("prelude.sh") { "/dev/null".to_string() } else { format!("{dir}/prelude.sh") };
        project.shell(&format!(
            "cat {prelude} {} > script.sh && shellcheck -s sh -e SC2034,SC1090,SC2317,SC3003 script.sh",
            path.display()
        ));
        scripts += 1;
    }
    assert!(scripts > 5);
}

/// `lock.sh` with its board's `/run` and uptime below `dir`, and `before` to make it slow.
fn lock(dir: &Path, before: &str) -> Child {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deploy/remote");
    let read = |name: &str| std::fs::read_to_string(format!("{scripts}/{name}")).unwrap();
    let text = read("prelude.sh") + before + &read("lock.sh");
    let at = dir.display();
    let text =
        text.replace("run=/run", &format!("run={at}")).replace("/proc/uptime", &format!("{at}/uptime"));
    #[expect(clippy::disallowed_methods, reason = "a board is not bimg's child")]
    let mut command = Command::new("sh");
    command.args(["-c", &text, "bimg", "somebody"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Where its scripts keep what is of this boot.
fn run(dir: &Path) -> PathBuf {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    dir.join("bimg/deploy").join(boot.trim())
}

/// What it says first.
fn said(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.split_whitespace().next().unwrap_or_default().to_string()
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_lock_that_was_left_goes_to_one() {
    let dir = tempfile::tempdir().unwrap();
    let left = run(dir.path()).join("lock");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(dir.path().join("uptime"), "100.00 1.00\n").unwrap();
    // Beyond the largest there is.
    std::fs::write(left.join("pid"), "99999999\n").unwrap();
    // Has seen that nobody holds it, and takes its time.
    let slow = "rm() { case $* in *lock) : >\"$run/slow\"; sleep 1 ;; esac; command rm \"$@\"; }\n";
    let mut second = lock(dir.path(), slow);
    eventually("the slow one", || run(dir.path()).join("slow").exists());
    let mut first = lock(dir.path(), "");
    let mut words = [said(&mut first), said(&mut second)];
    words.sort();
    assert_eq!(words, ["held", "taken"]);
    end(first);
    end(second);
    assert!(!left.exists());
}

#[test]
fn a_lock_of_another_boot_holds_nothing() {
    // Where /run is on a disk, and the power was cut.
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("bimg/deploy/00000000-0000-4000-8000-000000000001");
    std::fs::create_dir_all(old.join("lock")).unwrap();
    std::fs::create_dir_all(old.join("writers")).unwrap();
    std::fs::write(dir.path().join("uptime"), "100.00 1.00\n").unwrap();
    #[expect(clippy::disallowed_methods, reason = "a board is not bimg's child")]
    let mut innocent = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = innocent.id().to_string();
    std::fs::write(old.join("lock/pid"), &pid).unwrap();
    std::fs::write(old.join("lock/beat"), "20\n").unwrap();
    std::fs::write(old.join("writers").join(&pid), "").unwrap();
    // What the image keeps there: who may log in.
    let keys = dir.path().join("bimg/ssh/authorized_keys");
    std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
    std::fs::write(&keys, "").unwrap();
    let mut next = lock(dir.path(), "");
    assert_eq!(said(&mut next), "taken");
    assert!(!old.exists());
    assert!(keys.exists());
    assert_eq!(innocent.try_wait().unwrap(), None);
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    end(next);
}

#[test]
fn a_clock_that_jumps_ends_no_deploy() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("uptime"), "100.00 1.00\n").unwrap();
    let mut first = lock(dir.path(), "");
    assert_eq!(said(&mut first), "taken");
    // The board has just been told the time; its last sign of life is from 1970.
    let beat = std::fs::File::open(run(dir.path()).join("lock/beat")).unwrap();
    beat.set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut second = lock(dir.path(), "");
    assert_eq!(said(&mut second), "held");
    end(second);
    // Half a minute without one.
    std::fs::write(dir.path().join("uptime"), "131.00 1.00\n").unwrap();
    let mut third = lock(dir.path(), "");
    assert_eq!(said(&mut third), "taken");
    end(third);
    end(first);
}

#[test]
fn what_one_script_mounted_is_not_taken_from_another() {
    let project = Project::new();
    let prelude = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deploy/remote/prelude.sh");
    // A board whose boot partition nobody has mounted. A mount is a link to the directory that stands in for it.
    let board = "mkdir -p sys/dev/block sys/disk/p1 sys/disk/p2 fat run && ln -s ../../disk/p2 sys/dev/block/179:2 &&
         echo 1 >sys/disk/p1/partition && echo 179:1 >sys/disk/p1/dev &&
         echo '22 1 179:2 / / rw - ext4 /dev/root rw' >mountinfo
         sed \"s|/proc/self/mountinfo|$PWD/mountinfo|; s|/sys/dev|$PWD/sys/dev|; s|^run=/run|run=$PWD/run|\" \"$1\" >prelude
         cat >>prelude <<'END'
boot_where() { boot_find 1 boot.scr || :; }
command() { false; }
mount() {
	case $* in *remount*) sed -i 's|/boot ro|/boot rw|' \"$here/mountinfo\" && return ;; esac
	rmdir \"$run/boot\" && ln -s \"$here/fat\" \"$run/boot\" &&
		echo \"31 22 179:1 / $run/boot ro - vfat /dev/p1 ro\" >>\"$here/mountinfo\"
}
umount() {
	# Busy, as the kernel has it.
	[ \"$1\" = -l ] || ! ls -l /proc/[0-9]*/cwd /proc/[0-9]*/fd 2>/dev/null | grep -q \" $here/fat\" || return
	rm -f \"$run/boot\" && mkdir \"$run/boot\" && sed -i /vfat/d \"$here/mountinfo\"
}
END";
    project.write("board.sh", board);
    project.shell(&format!("mkdir board && cd board && sh ../board.sh {prelude}"));
    for shell in ["dash", "busybox ash"] {
        // One looks; another begins to write meanwhile, and goes on when the first has ended.
        project.shell(&format!(
            "cd board && here=$PWD && export here && rm -f looks writes fat/*
             {{ cat prelude; echo 'boot_open ro; : >\"$here/looks\"; until [ -e \"$here/writes\" ]; do sleep 0.02; done'; }} >look
             {{ cat prelude; echo 'boot_open rw; : >\"$here/writes\"; until [ -e \"$here/ended\" ]; do sleep 0.02; done
                echo all >\"$boot_at/file\"'; }} >write
             rm -f ended; {{ {shell} look; : >ended; }} & until [ -e looks ]; do sleep 0.02; done
             {shell} write && wait && [ \"$(cat fat/file)\" = all ] && ! grep vfat mountinfo"
        ));
    }
}
