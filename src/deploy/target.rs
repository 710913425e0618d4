//! What runs on the target: the script that a deployed kernel starts as PID 1.

use crate::boot::SlotId;
use crate::exec::quote;

/// PID 1 of deployment `id`, a POSIX shell script: binds its modules over those of `release`, guards a
/// trial boot, and becomes `real_init` (`/sbin/init`).
pub fn init_script(release: &str, id: &SlotId, real_init: &str) -> String {
    include_str!("target/init")
        .replace("@ID@", &quote(id.as_str()))
        .replace("@RELEASE@", &quote(release))
        .replace("@INIT@", &quote(real_init))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::exec::{Cmd, write_program};
    use crate::fsx;

    /// A directory that stands in for a board: its devices are files.
    struct Board {
        dir: tempfile::TempDir,
        shell: &'static [&'static str],
    }

    const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "ash"]];

    impl Board {
        fn new(shell: &'static [&'static str]) -> Self {
            let board = Board { dir: tempfile::tempdir().unwrap(), shell };
            for dir in ["bin", "dev", "proc/sys/kernel/random", "lib/modules/.bimg/0123456789ab/modules"] {
                fsx::create_dir_all(&board.path(dir)).unwrap();
            }
            board.write("proc/sys/kernel/random/boot_id", "this-boot\n");
            board.write("proc/sysrq-trigger", "");
            board.write("dev/console", "");
            board.write("dev/null", "");
            for (name, does) in [
                ("mount", "echo mount \"$@\" >>$log"),
                ("sync", "echo sync >>$log"),
                ("dmesg", "echo 'Linux version of the trial'"),
                ("reboot", "echo reboot \"$@\" >>$log; kill -9 $PPID"),
                // A second takes 20 ms here.
                ("sleep", "[ $1 = 1 ] && exec /bin/sleep 0.02; exec /bin/sleep 5"),
                ("init", "echo init \"$@\" trial=$bimg_trial deploy=$bimg_deploy path=$PATH >>$log"),
            ] {
                let text = format!("#!/bin/sh\nlog={}\n{does}\n", board.path("log").display());
                write_program(&board.path(&format!("bin/{name}")), &text).unwrap();
            }
            board
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fsx::write_atomic(&self.path(name), text.as_bytes()).unwrap();
        }

        fn read(&self, name: &str) -> String {
            String::from_utf8(fsx::read(&self.path(name)).unwrap_or_default()).unwrap()
        }

        /// The script with every path of the board's below the directory.
        fn script(&self) -> String {
            let root = self.dir.path().display().to_string();
            let script = init_script("6.12.1", &"0123456789ab".parse().unwrap(), &format!("{root}/bin/init"));
            let mut script = script.replace("PATH=/usr/sbin", &format!("PATH={root}/bin:/usr/sbin"));
            for dir in ["/lib/modules", "/proc/", "/dev/"] {
                script = script.replace(dir, &format!("{root}{dir}"));
            }
            // Nothing may get through to the machine that runs the test. Functions come before what a shell has built in.
            assert!(!script.contains(">/proc") && !script.contains(" /proc"));
            let stubs = ["mount", "sync", "dmesg", "reboot", "sleep"];
            let stubs = stubs.map(|name| format!("{name}() {{ {root}/bin/{name} \"$@\"; }}\n")).concat();
            script.replacen('\n', &format!("\n{stubs}"), 1)
        }

        /// Runs it to the end of the guard, in which no second is lost on the way.
        fn boot(&self, trial: &str) -> String {
            // Standing in for devices that are files here.
            let script = self.script().replace("[ -c ", "[ -e ") + "\n";
            self.write(
                "script",
                &script.replace("exec \"$init\"", "\"$init\"").replace("\"$@\"\n", "\"$@\"\nwait\n"),
            );
            let mut cmd =
                Cmd::new(self.shell[0]).args(&self.shell[1..]).arg(self.path("script")).arg("single");
            for (name, value) in [("bimg_deploy", "0123456789ab"), ("bimg_trial", trial)] {
                cmd = cmd.env(name, value);
            }
            cmd.output().unwrap();
            self.read("log")
        }
    }

    fn each(test: impl Fn(Board)) {
        for shell in SHELLS {
            test(Board::new(shell));
        }
    }

    #[test]
    fn the_real_init_follows_the_modules() {
        each(|board| {
            let root = board.dir.path().display().to_string();
            let log = board.boot("");
            assert_eq!(
                log.lines().collect::<Vec<_>>(),
                [
                    format!(
                        "mount -n -o bind {root}/lib/modules/.bimg/0123456789ab/modules {root}/lib/modules/6.12.1"
                    ),
                    format!("init single trial= deploy= path={root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ]
            );
            assert_eq!(board.read("dev/console"), "");
        });
    }

    #[test]
    fn a_trial_does_without_no_modules_of_its_own() {
        each(|board| {
            let mount = format!("#!/bin/sh\necho mount >>{}\nfalse\n", board.path("log").display());
            write_program(&board.path("bin/mount"), &mount).unwrap();
            assert_eq!(board.boot("3"), "mount\n");
            let said = "bimg: the modules of deployment 0123456789ab cannot be put in place\n";
            assert_eq!(board.read("dev/console"), said);
            // The default is better than nothing.
            assert!(board.boot("").contains("\ninit single"));
        });
    }

    #[test]
    fn a_trial_that_nobody_confirms_ends_in_a_reset() {
        each(|board| {
            board.write("lib/modules/.bimg/0123456789ab/good", "an-earlier-boot\n");
            board.write("dev/watchdog", "");
            let log = board.boot("3");
            assert!(log.contains("\nsync\n") && log.ends_with("reboot -f\n"), "{log}");
            assert_eq!(board.read("lib/modules/.bimg/0123456789ab/log"), "Linux version of the trial\n");
            assert_eq!(board.read("proc/sysrq-trigger"), "b\n");
            assert_eq!(board.read("dev/watchdog"), ".\n.\n.\n");
            assert_eq!(
                board.read("dev/console"),
                "bimg: deployment 0123456789ab was not found good in 3 s: reset\n"
            );
        });
    }

    #[test]
    fn a_confirmed_trial_stops_the_watchdog() {
        each(|board| {
            board.write("lib/modules/.bimg/0123456789ab/good", "this-boot\n");
            board.write("dev/watchdog", "");
            let log = board.boot("1000");
            assert_eq!(log.lines().count(), 2, "{log}");
            assert_eq!(board.read("dev/watchdog"), "V\n");
        });
    }

    #[test]
    fn whoever_holds_the_watchdog_keeps_it() {
        each(|board| {
            board.write("lib/modules/.bimg/0123456789ab/good", "this-boot\n");
            // A directory cannot be opened for writing, as a device that is in use cannot.
            fsx::create_dir_all(&board.path("dev/watchdog")).unwrap();
            assert_eq!(board.boot("1000").lines().count(), 2);
            assert_eq!(board.read("dev/null"), "V\n");
        });
    }

    #[test]
    fn names_never_become_shell() {
        let script = init_script("6.1'$(touch x)", &"0123456789ab".parse().unwrap(), "/sbin/my init");
        assert!(script.contains("\nrelease='6.1'\\''$(touch x)'\ninit='/sbin/my init'\n"), "{script}");
        assert!(!script.contains('@') || script.contains("\"$@\""));
    }

    #[test]
    fn shellcheck_accepts_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deploy/target/init");
        match Cmd::new("shellcheck").args(["-s", "sh"]).arg(path).check() {
            Ok(_) => {}
            // Not a tool that tests may count on.
            Err(error) => assert!(
                error.to_string().contains("shellcheck") && error.to_string().contains("not"),
                "{error}"
            ),
        }
    }
}
