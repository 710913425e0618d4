//! Builds that are stopped, killed, or run twice at once: the next one goes on and makes the same bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::live::{Live, eventually};
use common::server::{self, Manner};
use common::{Project, assert_fails};
use rustix::process::Signal;

const BUILD: &[&str] = &["build", "--board", "acme"];

/// Sends SIGINT and expects the end that it should have.
#[track_caller]
fn interrupt(live: Live, stage: &str) {
    live.signal(Signal::INT);
    let (status, stderr) = live.end();
    let expected = format!(
        "error: interrupted in stage `{stage}` of board `acme`\n\nhint: the same command goes on from there\n"
    );
    assert!(stderr.ends_with(&expected), "{stderr}");
    assert!(stderr.contains(&format!("\n{stage}: interrupted after ")), "{stderr}");
    assert_eq!(status, Some(130));
}

#[test]
fn ctrl_c_while_a_source_is_fetched() {
    let project = Project::new();
    let tar = "tar --sort=name --owner=0 --group=0 -cf linux.tar linux && sha256sum linux.tar && rm -r linux";
    let sha256 = project.shell(tar)[..64].to_string();
    let body = std::fs::read(project.path("linux.tar")).unwrap();
    let source =
        |host: &str| format!("source = {{ tarball = \"http://{host}/linux.tar\", sha256 = \"{sha256}\" }}");
    let host = server::start(body.clone(), Manner::Silent);
    project.edit("boards/acme.toml", "source = { path = \"linux\" }", &source(&host));

    let mut live = Live::start(&mut project.bimg(BUILD));
    live.wait_for("sources: started: `kernel` is not pinned yet");
    let half = project.root().join(format!("cache/bimg/downloads/{sha256}.partial"));
    eventually("a download", || half.metadata().is_ok_and(|meta| meta.len() > 0));
    interrupt(live, "sources");
    assert!(!half.with_extension("").exists() && !project.path("bimg.lock").exists());
    assert!(!project.root().join("cache/bimg/trees").exists());

    let better = server::start(body, Manner::Good);
    project.edit("boards/acme.toml", &host, &better);
    project.build(&[]);
    assert!(project.read("bimg.lock").contains(&sha256));
    assert_eq!(project.run(&[BUILD, &["--offline"]].concat()).ok().stderr.matches("up to date").count(), 4);
}

#[test]
fn ctrl_c_while_the_kernel_compiles() {
    let project = Project::new();
    project.slow(true);
    let mut live = Live::start(&mut project.bimg(BUILD));
    live.wait_for("kernel: started: ");
    eventually("a compiler", || !project.waiting().is_empty());
    interrupt(live, "kernel");
    eventually("the end of make and all its children", || project.waiting().is_empty());
    assert!(!project.path("out").exists());
    assert_eq!(project.shell("ls build/kernel/*/stamp.json build/kernel/*/stage 2>/dev/null || true"), "");
    project.slow(false);
    project.build(&[]);
}

#[test]
fn a_signal_that_comes_twice_is_one() {
    let project = Project::new();
    project.slow(true);
    let mut live = Live::start(&mut project.bimg(BUILD));
    live.wait_for("kernel: started: ");
    eventually("a compiler", || !project.waiting().is_empty());
    // As `timeout` sends it: to the process, and to its group.
    live.signal(Signal::INT);
    interrupt(live, "kernel");
    eventually("the end of make and all its children", || project.waiting().is_empty());
}

#[test]
fn ctrl_c_while_the_root_filesystem_is_made() {
    let project = Project::new();
    project.edit(
        "boards/acme.toml",
        "kind = \"directory\"\npath = \"rootfs\"",
        "kind = \"debian\"\nsuite = \"bookworm\"\npackages = [\"kmod\"]",
    );
    project.tool(
        "mmdebstrap",
        "#!/bin/sh\ncase $1 in --version) echo 'mmdebstrap 1.3.5'; exit ;; esac\n\
         sleep 60 & echo \"$$ $!\" >> \"${0%/*}/pids\"; wait\n",
    );
    let mut live = Live::start(&mut project.bimg(BUILD));
    live.wait_for("rootfs: started: not built yet");
    eventually("a mmdebstrap", || !project.waiting().is_empty());
    interrupt(live, "rootfs");
    eventually("the end of mmdebstrap", || project.waiting().is_empty());
    assert_eq!(project.shell("ls build/rootfs/*/base.tar build/rootfs/*/stamp.json 2>/dev/null || true"), "");
    assert!(!project.path("out").exists());
}

#[test]
fn ctrl_c_while_the_image_is_written() {
    let project = Project::new();
    // So large that no host is done with it when the signal comes.
    let data = "[[disk.partition]]\nname = \"data\"\nsize = \"8T\"\n\n";
    project.edit("boards/acme.toml", "[rootfs]", &format!("{data}[rootfs]"));
    project.build(&["--stage", "rootfs"]);
    let mut live = Live::start(&mut project.bimg(BUILD));
    live.wait_for("image: started: not built yet");
    eventually("a half image", || project.path("out/acme/acme.img.partial").exists());
    interrupt(live, "image");
    let left = project.shell("ls out/acme");
    assert!(["", "acme.img.partial\n"].contains(&left.as_str()), "{left}");
    project.edit("boards/acme.toml", data, "");
    project.build(&[]);
    assert_eq!(
        project
            .shell("cd out/acme && sha256sum -c SHA256SUMS && ls *.partial 2>/dev/null || true")
            .matches(": OK")
            .count(),
        3
    );
}

#[test]
fn ctrl_c_while_a_hole_is_hashed() {
    let project = Project::new();
    let partition = "[disk]\ntable = \"gpt\"\n\n[[disk.partition]]\nname = \"data\"\n";
    project.write("boards/hole.toml", &format!("{partition}size = \"8T\"\n"));
    let assemble = ["assemble", "boards/hole.toml", "--input", "rootfs", "--output", "hole.img"];
    let live = Live::start(&mut project.bimg(&assemble));
    eventually("an image", || project.shell("ls -A").contains("hole.img"));
    live.signal(Signal::INT);
    let (status, stderr) = live.end();
    assert!(
        stderr.ends_with("error: cannot write the image `hole.img`\n  caused by: interrupted\n"),
        "{stderr}"
    );
    assert_eq!(status, Some(130));
    assert!(!project.shell("ls -A").contains("hole.img"));

    // What never ends is not even begun with.
    project.write("boards/pipe.toml", &format!("{partition}file = \"pipe\"\n"));
    project.shell("mkfifo rootfs/pipe");
    assert_fails(
        &project.run(&["assemble", "boards/pipe.toml", "--input", "rootfs", "--output", "pipe.img"]),
        2,
        "error: cannot read `rootfs/pipe`\n  caused by: it is not a regular file\n  \
         caused by: declared at boards/pipe.toml:5:8\n",
    );
}

#[test]
fn a_killed_build_goes_on_to_the_same_bytes() {
    let reference = Project::new();
    let start = std::time::Instant::now();
    reference.build(&[]);
    let whole = reference.artifacts();
    let step = start.elapsed() / 8;

    let project = Project::new();
    // At several moments of one build, each going on where the last was killed ...
    for moment in 1..=6 {
        let live = Live::start(&mut project.bimg(BUILD));
        std::thread::sleep(step * moment);
        live.signal(Signal::KILL);
        live.end();
        project.assert_nothing_half(&whole);
    }
    project.build(&[]);
    assert_eq!(project.artifacts(), whole);
    assert_eq!(project.shell("find . ../cache -name '*.partial*'"), "");
}

#[test]
fn a_build_killed_in_a_stage_goes_on_to_the_same_bytes() {
    let reference = Project::new();
    reference.build(&[]);
    let whole = reference.artifacts();

    let project = Project::new();
    project.slow(true);
    let live = Live::start(&mut project.bimg(BUILD));
    eventually("a compiler", || !project.waiting().is_empty());
    live.signal(Signal::KILL);
    live.end();
    project.shell(&format!("kill {}", project.waiting().join(" ")));
    project.slow(false);
    for stage in ["rootfs", "image"] {
        // The build may have come to its end before the signal came.
        if project.path("out/acme/acme.img").exists() {
            project.shell("rm -r out");
        }
        let mut live = Live::start(&mut project.bimg(BUILD));
        live.wait_for(&format!("{stage}: started: "));
        live.signal(Signal::KILL);
        live.end();
        project.assert_nothing_half(&whole);
    }
    project.build(&[]);
    assert_eq!(project.artifacts(), whole);
}

#[test]
fn what_a_killed_build_left_running_is_waited_for() {
    let reference = Project::new();
    reference.build(&[]);

    let project = Project::new();
    project.slow(true);
    let first = Live::start(&mut project.bimg(BUILD));
    eventually("a compiler", || !project.waiting().is_empty());
    let id = first.pid();
    first.signal(Signal::KILL);
    first.end();
    // Its make and compilers would write the same objects as those of the next one.
    let mut second = Live::start(&mut project.bimg(BUILD));
    second.wait_for(&format!(
        "waiting for what bimg, process {id}, left running when it was killed (lock `build/acme/lock`)"
    ));
    project.slow(false);
    let (status, stderr) = second.end();
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(project.artifacts(), reference.artifacts());
}

/// A kernel that boards share stays as it is until each of them has its image.
#[test]
fn another_board_does_not_change_a_kernel_that_is_in_use() {
    let project = Project::new();
    project.edit(
        "boards/acme.toml",
        "kind = \"directory\"\npath = \"rootfs\"",
        "kind = \"debian\"\nsuite = \"bookworm\"\npackages = [\"kmod\"]",
    );
    project.shell("sed s/debian/directory/ boards/acme.toml | grep -v '^suite\\|^packages' | sed 's/^grow/path = \"rootfs\"\\n&/' > boards/other.toml");
    // It waits like the compiler does, and leaves an empty tar.
    project.tool(
        "mmdebstrap",
        "#!/bin/sh\ncase $1 in --version) echo 'mmdebstrap 1.3.5'; exit ;; esac\n\
         echo $$ >> \"${0%/*}/pids\"; while [ -e \"${0%/*}/SLOW\" ]; do sleep 0.1; done\n\
         for last; do case $before in *.partial) ;; esac; target=$before; before=$last; done\n\
         tar -cf \"$target\" -T /dev/null\n",
    );
    project.build(&["--stage", "kernel"]);
    project.slow(true);
    let mut first = Live::start(&mut project.bimg(&[BUILD, &["--stage", "rootfs"]].concat()));
    first.wait_for("rootfs: started: ");
    eventually("a mmdebstrap", || !project.waiting().is_empty());
    let args = ["build", "--board", "other", "--set", "CONFIG_LED=n"];
    let mut second = Live::start(&mut project.bimg(&args));
    second.wait_for(&format!("waiting for bimg, process {} (lock `build/kernel/", first.pid()));
    project.slow(false);
    let (status, stderr) = first.end();
    assert_eq!(status, Some(0), "{stderr}");
    let (status, stderr) = second.end();
    assert_eq!(status, Some(0), "{stderr}");
}

#[test]
fn a_second_build_waits_and_says_for_whom() {
    let project = Project::new();
    project.slow(true);
    let mut first = Live::start(&mut project.bimg(BUILD));
    first.wait_for("kernel: started: ");
    eventually("a compiler", || !project.waiting().is_empty());
    let mut second = Live::start(&mut project.bimg(BUILD));
    second.wait_for(&format!("waiting for bimg, process {} (lock `build/acme/lock`)", first.pid()));
    // A plan waits for nobody.
    assert_eq!(project.plan(&[])[0], "sources up to date");
    project.slow(false);
    let (status, stderr) = first.end();
    assert_eq!(status, Some(0), "{stderr}");
    let (status, stderr) = second.end();
    assert_eq!(status, Some(0), "{stderr}");
    assert!(
        stderr.ends_with("sources: up to date\nkernel: up to date\nrootfs: up to date\nimage: up to date\n"),
        "{stderr}"
    );
}
