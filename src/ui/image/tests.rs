use super::*;
use crate::image::Finding;
use crate::image::inspect::Raw;
use crate::image::probe::Content;

const MIB: u64 = 1 << 20;

fn part(number: u32, start: u64, size: u64, name: &str) -> PartFacts {
    PartFacts {
        number,
        name: name.to_string(),
        start: ByteSize(start),
        size: ByteSize(size),
        kind: Some("0fc63daf-8483-4772-8e79-3d69d8477de4".into()),
        type_name: Some("linux".into()),
        partuuid: Some("00000000-0000-0000-0000-000000000001".into()),
        bootable: false,
        hybrid: false,
        content: Some(Content {
            kind: "ext4".into(),
            filesystem: true,
            label: String::new(),
            uuid: String::new(),
            size: Some(ByteSize(size)),
            used: Some(ByteSize(size / 4)),
        }),
    }
}

fn disk(size: u64, partitions: Vec<PartFacts>) -> Inspection {
    Inspection {
        size: ByteSize(size),
        table: Kind::Gpt,
        id: String::new(),
        partitions,
        raw: Vec::new(),
        boot: Vec::new(),
        kernels: Vec::new(),
        modules: Vec::new(),
        findings: Vec::new(),
    }
}

#[test]
fn the_picture_is_to_scale_and_never_wider_than_the_page() {
    let mut it = disk(
        8192 * MIB,
        vec![
            part(1, 4 * MIB, 64 * MIB, "boot"),
            part(2, 68 * MIB, 2048 * MIB, "root-a"),
            part(3, 2116 * MIB, 4096 * MIB, "root-b"),
        ],
    );
    it.raw.push(Raw { start: ByteSize(32 << 10), size: ByteSize(500 << 10) });
    let drawn = picture(&it);
    assert_eq!(
        drawn,
        "\n ┌─┬───────┬────────────────┬─────────────────────────────────┬───────────────┐\n \
         │ │1 boot │2 root-a        │3 root-b                         │               │\n \
         │ │ext4   │ext4            │ext4                             │               │\n \
         │▒│██░░░░░│████░░░░░░░░░░░░│█████████░░░░░░░░░░░░░░░░░░░░░░░░│               │\n \
         └─┴───────┴────────────────┴─────────────────────────────────┴───────────────┘\n \
         0 4M      68M              2.1G                              6.1G          8G\n  \
         █ used  ░ free  ▒ data without a filesystem\n"
    );
}

#[test]
fn any_number_of_partitions_fits() {
    for count in 0..60 {
        for size in [1, 512, 100 * MIB] {
            let all =
                (0..count).map(|i| part(i + 1, u64::from(i) * size * 2, size, "a long name of it")).collect();
            let it = disk(u64::from(count) * size * 2 + 1, all);
            for line in text("x", &it).lines() {
                assert!(line.chars().count() <= WIDTH, "{count} {size}: {line}");
            }
        }
    }
}

#[test]
fn what_an_image_says_cannot_paint_the_terminal() {
    let mut it = disk(10 * MIB, vec![part(1, 0, MIB, "evil\u{1b}[31m\r\n")]);
    it.findings.push(Finding::error("bad \u{7}"));
    let text = text("x\u{1b}[2J", &it);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}
