//! An inspection for people: a picture of the disk to scale, tables, and what was found. Plain text of
//! at most 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::text::{self, cut, wrap};
use crate::image::chain::{Chain, Entry};
use crate::image::diff::Difference;
use crate::image::inspect::{Inspection, PartFacts};
use crate::image::table::Kind;
use crate::image::verify::Check;
use crate::image::volume::Entry as VolumeEntry;
use crate::units::ByteSize;

/// Columns of the text.
const WIDTH: usize = 80;
/// Columns inside the frame of the picture.
const INSIDE: usize = WIDTH - 4;
/// More than this cannot be told apart in a picture.
const MAX_SEGMENTS: usize = 24;

/// The whole text.
pub fn text(name: &str, it: &Inspection) -> String {
    let id = if it.id.is_empty() { String::new() } else { format!(", disk {}", it.id) };
    let mut out = format!("{}: {}, {}{id}\n", clean(name), it.size, it.table.name());
    out.push_str(&picture(it));
    partitions(it, &mut out);
    raw(it, &mut out);
    for (index, chain) in it.boot.iter().enumerate() {
        out.push_str(if index == 0 { "\nboot\n" } else { "" });
        boot(it, chain, &mut out);
    }
    if !it.modules.is_empty() {
        out.push_str("\nmodules\n");
    }
    for modules in &it.modules {
        let place = place(it, modules.partition, &modules.path);
        line(&mut out, 2, &format!("{}: {} in {place}", modules.release, modules.count));
        if let Some(vermagic) = &modules.vermagic {
            line(&mut out, 4, &format!("vermagic {vermagic}"));
        }
    }
    if !it.findings.is_empty() {
        out.push_str("\nfindings\n");
    }
    for finding in &it.findings {
        line(&mut out, 2, &finding.to_string());
    }
    out
}

/// A line of a listing: `-rw-r--r--     0:0        8192  config.txt`.
pub fn row(entry: &VolumeEntry, target: Option<&str>) -> String {
    let bit = |shift: u32, letter: char| if entry.mode >> shift & 1 == 1 { letter } else { '-' };
    let triple = |shift: u32, special: u32, [with, without]: [char; 2]| {
        let execute = match (entry.mode >> special & 1, entry.mode >> shift & 1) {
            (1, 1) => with,
            (1, _) => without,
            (_, 1) => 'x',
            _ => '-',
        };
        [bit(shift + 2, 'r'), bit(shift + 1, 'w'), execute]
    };
    let mode: String = [triple(6, 11, ['s', 'S']), triple(3, 10, ['s', 'S']), triple(0, 9, ['t', 'T'])]
        .concat()
        .into_iter()
        .collect();
    let owner = entry.owner.map_or("-".to_string(), |(uid, gid)| format!("{uid}:{gid}"));
    let arrow = target.map_or(String::new(), |target| format!(" -> {}", target.escape_debug()));
    let (letter, name) = (entry.kind.letter(), entry.name.escape_debug());
    format!("{letter}{mode} {owner:>11} {:>12}  {name}{arrow}", entry.size)
}

/// What was checked, for people.
pub fn checks(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let note = if check.note.is_empty() { String::new() } else { format!(" ({})", check.note) };
        line(&mut out, 0, &format!("{}: {}{note}", check.what, check.verdict.name()));
        for finding in &check.findings {
            line(&mut out, 2, &finding.to_string());
        }
    }
    out
}

/// Differences of one place that are shown before the rest is counted.
const SHOWN: usize = 40;

/// How two images differ, for people; empty when they do not.
pub fn differences(differences: &[Difference], inputs: &[String]) -> String {
    let mut out = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for it in differences {
        // All files of one partition count together.
        let part = it.place.split_once(":/").map_or(it.place.as_str(), |(part, _)| part);
        let count = counts.entry(part).or_default();
        *count += 1;
        if *count <= SHOWN {
            let cause = it.cause.as_ref().map_or(String::new(), |cause| format!(" ({cause})"));
            line(&mut out, 0, &format!("{}: {}{cause}", it.place, it.what));
        }
    }
    for (part, count) in counts.into_iter().filter(|(_, count)| *count > SHOWN) {
        line(&mut out, 0, &format!("{part}: and {} more; `--json` has them all", count - SHOWN));
    }
    if !inputs.is_empty() {
        out.push_str("\ninputs of the builds that differ (manifest.json)\n");
    }
    for input in inputs {
        line(&mut out, 2, input);
    }
    out
}

/// A word, and text that wraps in a column of its own.
fn column(out: &mut String, indent: usize, word: &str, text: &str) {
    let room = WIDTH - indent - 11;
    let _ = writeln!(out, "{:indent$}{word:<10} {}", "", wrap(&clean(text), room, indent + 11));
}

/// A line that wraps under itself.
fn line(out: &mut String, indent: usize, text: &str) {
    let text = wrap(&clean(text), WIDTH - indent - 2, indent + 2);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:indent$}{text}", "");
}

/// Without the partition where there is only one place.
fn place(it: &Inspection, partition: u32, path: &str) -> String {
    match it.partitions.iter().find(|part| part.number == partition) {
        Some(part) if part.number > 0 => format!("{}:/{path}", part.number),
        _ => format!("/{path}"),
    }
}

fn partitions(it: &Inspection, out: &mut String) {
    if it.partitions.is_empty() {
        out.push_str("\nno partitions\n");
        return;
    }
    let _ =
        writeln!(out, "\n{:>3}  {:<12} {:>10} {:>10}  {:<18} holds", "#", "name", "start", "size", "type");
    for part in &it.partitions {
        let number = if part.number == 0 { "-".to_string() } else { part.number.to_string() };
        let kind = part.type_name.as_deref().unwrap_or("-");
        let _ = writeln!(
            out,
            "{number:>3}  {:<12} {:>10} {:>10}  {:<18} {}",
            cut(&clean(&part.name), 12),
            part.start.to_string(),
            part.size.to_string(),
            cut(kind, 18),
            holds(part),
        );
        for detail in details(part) {
            line(out, 5, &detail);
        }
    }
}

/// `ext4`.
fn holds(part: &PartFacts) -> String {
    let Some(content) = &part.content else { return "raw or empty".to_string() };
    content.kind.clone()
}

fn details(part: &PartFacts) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(content) = &part.content {
        if !content.label.is_empty() {
            words.push(format!("label {}", content.label));
        }
        if let (Some(used), Some(size)) = (content.used, content.size)
            && size.0 > 0
            && content.filesystem
        {
            let percent = u128::from(used.0) * 100 / u128::from(size.0);
            words.push(format!("{used} of {size} used ({percent} %)"));
        }
    }
    if part.bootable {
        words.push("bootable".to_string());
    }
    if part.hybrid {
        words.push("in the MBR as well".to_string());
    }
    let mut lines = vec![words.join(", ")];
    if let Some(uuid) = part.content.as_ref().map(|content| &content.uuid).filter(|uuid| !uuid.is_empty()) {
        lines.push(format!("UUID {uuid}"));
    }
    if let Some(uuid) = &part.partuuid {
        lines.push(format!("PARTUUID {uuid}"));
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn raw(it: &Inspection, out: &mut String) {
    if !it.raw.is_empty() {
        out.push_str("\noutside the partitions\n");
    }
    for raw in &it.raw {
        line(out, 2, &format!("data at {}, {}", raw.start, raw.size));
    }
}

fn boot(it: &Inspection, chain: &Chain, out: &mut String) {
    line(out, 2, &format!("{}, {}", chain.loader.name(), place(it, chain.partition, &chain.file)));
    for entry in &chain.entries {
        entry_lines(it, chain, entry, out);
    }
}

fn entry_lines(it: &Inspection, chain: &Chain, entry: &Entry, out: &mut String) {
    line(out, 4, &entry.title);
    if let Some(path) = &entry.kernel {
        let known = it.kernels.iter().filter(|kernel| kernel.path.eq_ignore_ascii_case(path));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|kernel| kernel.partition != chain.partition);
        let facts = known.first().map_or(String::new(), |kernel| {
            let release = kernel.kernel.release.as_deref().unwrap_or("release unknown");
            let machine = kernel.kernel.machine.map_or(String::new(), |machine| format!(" for {machine}"));
            format!(": {release}, {}{machine}", kernel.kernel.format)
        });
        column(out, 6, "kernel", &format!("{path}{facts}"));
    }
    let lists = [
        ("DTB", entry.dtb.as_slice()),
        ("overlays", entry.overlays.as_slice()),
        ("initramfs", entry.initrd.as_slice()),
    ];
    for (what, paths) in lists.iter().filter(|(_, paths)| !paths.is_empty()) {
        column(out, 6, what, &paths.join(" "));
    }
    if let Some(cmdline) = entry.cmdline.as_deref().filter(|cmdline| !cmdline.is_empty()) {
        column(out, 6, "cmdline", cmdline);
    }
}

/// In one line and one column after another: what an image holds may be anything.
fn clean(text: &str) -> String {
    text::clean(text).replace('\t', " ")
}

/// A piece of the disk in the picture.
struct Segment {
    start: u64,
    end: u64,
    label: String,
    kind: String,
    /// How much of it is used, from 0 to 1; `None` where that has no meaning.
    used: Option<f64>,
    fill: char,
}

/// The disk from left to right, each partition as wide as it is large, but never too narrow to be seen.
fn picture(it: &Inspection) -> String {
    let segments = segments(it);
    if segments.is_empty() || segments.len() > MAX_SEGMENTS {
        return String::new();
    }
    let widths = widths(&segments, INSIDE - (segments.len() - 1));
    let row = |cell: &dyn Fn(&Segment, usize) -> String| {
        let cells: Vec<String> = segments.iter().zip(&widths).map(|(it, width)| cell(it, *width)).collect();
        format!(" │{}│\n", cells.join("│"))
    };
    let rule = |left: char, middle: &str, right: char| {
        let cells: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        format!(" {left}{}{right}\n", cells.join(middle))
    };
    let padded = |text: &str, width: usize| format!("{:<width$}", cut(text, width));
    let mut out = String::from("\n");
    out += &rule('┌', "┬", '┐');
    out += &row(&|it, width| padded(&it.label, width));
    out += &row(&|it, width| padded(&it.kind, width));
    out += &row(&bar);
    out += &rule('└', "┴", '┘');
    out += &scale(&segments, &widths, it.size.0);
    out + "  █ used  ░ free  ▒ data without a filesystem\n"
}

fn bar(segment: &Segment, width: usize) -> String {
    match segment.used {
        None => segment.fill.to_string().repeat(width),
        Some(part) => {
            // Something used always shows.
            let full = ((part * width as f64).ceil() as usize).min(width);
            "█".repeat(full) + &"░".repeat(width - full)
        }
    }
}

/// Partitions and the gaps between them, in the order of the disk.
fn segments(it: &Inspection) -> Vec<Segment> {
    let mut parts: Vec<&PartFacts> = it.partitions.iter().filter(|part| part.start < it.size).collect();
    parts.sort_by_key(|part| (part.start, part.number));
    let mut segments = Vec::new();
    let mut at = 0;
    let gap = |start: u64, end: u64| {
        let has_data = it.raw.iter().any(|raw| raw.start.0 < end && raw.start.0 + raw.size.0 > start);
        let fill = if has_data { '▒' } else { ' ' };
        Segment { start, end, label: String::new(), kind: String::new(), used: None, fill }
    };
    for part in parts {
        let end = part.start.0.saturating_add(part.size.0).min(it.size.0);
        if part.start.0 > at {
            segments.push(gap(at, part.start.0));
        }
        let start = part.start.0.max(at);
        // What an overlap hides is told among the findings.
        if start < end {
            segments.push(segment(part, start, end));
            at = end;
        }
    }
    // The copy of a GPT at the end is not worth a column.
    if it.size.0 - at.min(it.size.0) > if it.table == Kind::Gpt { 1 << 20 } else { 0 } {
        segments.push(gap(at, it.size.0));
    }
    segments
}

fn segment(part: &PartFacts, start: u64, end: u64) -> Segment {
    let content = part.content.as_ref();
    let used = content.filter(|it| it.filesystem).and_then(|it| Some((it.used?, it.size?)));
    let title = if part.name.is_empty() { content.map_or("", |it| &it.label) } else { &part.name };
    let number = if part.number == 0 { String::new() } else { format!("{} ", part.number) };
    Segment {
        start,
        end,
        label: format!("{number}{}", clean(title)),
        kind: content.map_or(String::new(), |it| it.kind.clone()),
        used: used.map(|(used, size)| used.0 as f64 / size.0.max(1) as f64),
        fill: if content.is_some() { '▒' } else { ' ' },
    }
}

/// Columns of each segment, `room` together: by size, with a least width for what has a name.
fn widths(segments: &[Segment], room: usize) -> Vec<usize> {
    let least = |it: &Segment| if it.label.is_empty() { 1 } else { 2.max(room / segments.len() / 2).min(7) };
    let mut widths: Vec<usize> = segments.iter().map(least).collect();
    let total: u64 = segments.iter().map(|it| it.end - it.start).sum();
    // One column after the other to whoever is furthest below its share.
    for _ in widths.iter().sum::<usize>()..room {
        let share = |it: &Segment| (it.end - it.start) as f64 / total.max(1) as f64 * room as f64;
        let lack = |(index, it): &(usize, &Segment)| share(it) - widths[*index] as f64;
        let most = segments.iter().enumerate().max_by(|a, b| lack(a).total_cmp(&lack(b)).then(b.0.cmp(&a.0)));
        if let Some((index, _)) = most {
            widths[index] += 1;
        }
    }
    widths
}

/// Where segments start, as far as the figures fit; the size of the disk at the end.
fn scale(segments: &[Segment], widths: &[usize], size: u64) -> String {
    let end = short(size);
    let mut text = String::from(" ");
    let mut column = 1;
    for (segment, width) in segments.iter().zip(widths) {
        let figure = short(segment.start);
        let fits = text.chars().count() < column.max(2) && column + figure.len() + 2 + end.len() <= WIDTH - 2;
        if fits || segment.start == 0 {
            text += &" ".repeat(column - text.chars().count());
            text += &figure;
        }
        column += width + 1;
    }
    let pad = (WIDTH - 2).saturating_sub(text.chars().count() + end.len()).max(1);
    text + &" ".repeat(pad) + &end + "\n"
}

/// `4M`, `1.5G`: for the scale.
fn short(bytes: u64) -> String {
    ByteSize(bytes).to_string().replace(" B", "").replace("iB", "").replace(' ', "")
}

#[cfg(test)]
mod tests;
