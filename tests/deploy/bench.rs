//! A measurement beside `rsync -az`, not a test: `scripts/bench-deploy` runs it.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::time::Instant;

use crate::board::Board;
use crate::lab::Lab;

/// What a Debian system has in place of busybox's.
const GNU: &[&str] = &[
    "cat",
    "cmp",
    "cp",
    "dd",
    "dirname",
    "find",
    "grep",
    "gzip",
    "ls",
    "mkdir",
    "mv",
    "od",
    "openssl",
    "rm",
    "sed",
    "sha256sum",
    "sort",
    "stat",
    "tail",
    "tar",
    "touch",
    "tr",
    "wc",
    "xargs",
    "zstd",
];

/// Wall seconds and bytes to the board of one way.
struct Row {
    name: String,
    seconds: Vec<f64>,
    bytes: Vec<u64>,
}

#[test]
#[ignore = "a measurement: scripts/bench-deploy"]
fn beside_rsync() {
    let modules =
        std::env::var("BENCH_MODULES").expect("a directory of kernel modules: scripts/bench-deploy");
    let kernel = std::env::var("BENCH_KERNEL").expect("a kernel image: scripts/bench-deploy");
    let rounds: usize = std::env::var("BENCH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let mut lab = Lab::with(&[]);
    lab.project.edit("boards/acme.toml", "size = \"8M\"", "size = \"256M\"");
    lab.project.build(&[]);
    // The miniature's own modules, and those: what the next build installs.
    lab.project.shell(&format!("cp {kernel} linux/prebuilt-kernel && cp -r {modules} linux/prebuilt"));
    lab.project.edit(
        "linux/Makefile",
        "KERNELRELEASE := 6.12.0-fake",
        "KERNELRELEASE := $(shell cat $(CURDIR)/prebuilt/release)",
    );
    lab.project.edit(
        "linux/Makefile",
        "\t@objcopy -O binary $< $(boot)/Image\n",
        "\t@objcopy -O binary $< $(boot)/Image && cat $(srctree)/prebuilt-kernel >>$(boot)/Image\n",
    );
    lab.project.edit(
        "linux/Makefile",
        "\t@ln -sfn $(objtree) $(to)/build\n",
        "\t@ln -sfn $(objtree) $(to)/build\n\t@cp -r $(srctree)/prebuilt/modules $(to)/kernel\n",
    );
    lab.project.edit(
        "linux/Makefile",
        "> $(objtree)/System.map",
        "| cat - $(srctree)/prebuilt/System.map > $(objtree)/System.map",
    );
    let rate: u64 = std::env::var("BENCH_RATE").map_or(0, |rate| rate.parse().unwrap());
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..rounds {
        for tools in ["busybox", "GNU and zstd"] {
            let name = format!("{}-{round}", &tools[..3].to_lowercase());
            let board = Board::new(&lab.project, &name);
            if tools != "busybox" {
                for tool in GNU {
                    board.take(tool, "usr/bin");
                }
                board.dash();
            }
            // In place of the one that only takes a note.
            board.take("sync", "usr/local/bin");
            board.take("rsync", "usr/bin");
            board.wire().limit(rate * 1_000_000);
            lab.boards = vec![board];
            lab.configure();
            one_round(&lab, tools, round, &mut rows);
        }
    }
    print(&mut rows);
}

/// Everything once, to a board that has the image alone.
fn one_round(lab: &Lab, tools: &str, round: usize, rows: &mut Vec<Row>) {
    let build = || {
        lab.project.build(&["--stage", "kernel"]);
        // As `make modules_install` leaves it, all of it new; and as it was, but for the one that has changed.
        lab.project.shell(
            "stage=$(echo build/kernel/*/stage) && rm -rf renewed && mkdir -p renewed kept && cp -r $stage/lib renewed &&
             cp build/kernel/*/obj/arch/arm64/boot/Image renewed &&
             cp build/kernel/*/obj/arch/arm64/boot/dts/acme/*.dtb renewed && rsync -rc renewed/ kept",
        );
    };
    let bimg = || drop(lab.deploy(&["--no-build", "--no-reboot"]).ok());
    let rsync = |tree: &str| {
        let ssh = format!("ssh -F {}/ssh_config", lab.project.root().display());
        let to = format!("{}:/srv/{tree}", lab.board().name);
        let mut command = lab.project.command("rsync");
        lab.project.outcome(command.args(["-az", "-e", &ssh, &format!("{tree}/"), &to])).ok();
    };
    let mut timed = |name: &str, work: &dyn Fn()| {
        let name = format!("{tools}: {name}");
        // Nobody pays for what another has left in memory.
        lab.project.shell("sync");
        let (sent, start) = (lab.board().wire().sent(), Instant::now());
        work();
        let (seconds, bytes) = (start.elapsed().as_secs_f64(), lab.board().wire().sent() - sent);
        let at = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            rows.push(Row { name, seconds: Vec::new(), bytes: Vec::new() });
            rows.len() - 1
        });
        rows[at].seconds.push(seconds);
        rows[at].bytes.push(bytes);
    };
    std::fs::create_dir_all(lab.board().path("srv")).unwrap();
    lab.edit_module(&format!("{tools}{round}"));
    build();
    // Each goes first in turn.
    let first: [(&str, &dyn Fn()); 2] = [("first, bimg", &bimg), ("first, rsync -az", &|| rsync("renewed"))];
    let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    for at in order {
        timed(first[at].0, first[at].1);
    }
    rsync("kept");
    // The trial, after which it is what the next one is compared with.
    lab.deploy(&[]).ok();
    lab.edit_module(&format!("{tools}{round}-again"));
    build();
    let changed: [(&str, &dyn Fn()); 3] = [
        ("one module, bimg", &bimg),
        ("one module, rsync -az after make modules_install", &|| rsync("renewed")),
        ("one module, rsync -az of a tree with its old dates", &|| rsync("kept")),
    ];
    let order = if round.is_multiple_of(2) { [0, 1, 2] } else { [2, 1, 0] };
    for at in order {
        timed(changed[at].0, changed[at].1);
    }
}

fn print(rows: &mut [Row]) {
    println!("{:<62} {:>8} {:>8} {:>8} {:>12}", "", "median", "least", "most", "bytes");
    for row in rows {
        row.seconds.sort_by(f64::total_cmp);
        row.bytes.sort_unstable();
        let middle = row.seconds.len() / 2;
        let (least, most) = (row.seconds[0], row.seconds[row.seconds.len() - 1]);
        println!(
            "{:<62} {:>8.2} {least:>8.2} {most:>8.2} {:>12}",
            row.name, row.seconds[middle], row.bytes[middle]
        );
    }
}
