//! Reads the Kconfig files of a kernel tree: enough to say what a symbol depends on.
//!
//! Language: Documentation/kbuild/kconfig-language.rst. Macros are not run: `source` knows
//! `$(SRCARCH)`, everything else that asks the shell is kept as text.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::expr::Expr;
use crate::error::Result;
use crate::fsx;

/// One place where a symbol is defined.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// `drivers/usb/Kconfig:12`
    pub place: String,
    /// `bool`, `tristate`, `string`, `int`, `hex`; empty when only another definition says.
    pub kind: String,
    /// True when a person can set it (while the condition holds).
    pub prompt: bool,
    /// What the prompt itself needs (`bool "x" if EXPERT`).
    pub prompt_if: Option<Expr>,
    /// What it depends on: its own `depends on`, and the menus, ifs and choices around it.
    pub depends: Vec<Expr>,
    /// `range 1 8`, with its condition.
    pub ranges: Vec<(String, String, Option<Expr>)>,
    /// The choice that it belongs to.
    pub choice: Option<usize>,
}

/// All symbols of a tree.
#[derive(Debug, Default)]
pub struct Tree {
    /// By name without `CONFIG_`.
    pub symbols: HashMap<String, Vec<Definition>>,
    /// Who selects a symbol, and while what holds.
    pub selected_by: HashMap<String, Vec<(String, Option<Expr>)>>,
    /// Members of each choice.
    pub choices: Vec<Vec<String>>,
}

impl Tree {
    /// Reads `Kconfig` and all that it sources for an architecture (kbuild's SRCARCH).
    pub fn load(source: &Path, arch: &str) -> Result<Tree> {
        let mut reader = Reader {
            root: source,
            arch,
            tree: Tree::default(),
            blocks: Vec::new(),
            entry: Entry::None,
            files: HashSet::new(),
        };
        reader.file("Kconfig")?;
        Ok(reader.tree)
    }
}

/// What encloses the line being read.
enum Block {
    If(Expr),
    Menu(Vec<Expr>),
    Choice(usize, Vec<Expr>),
}

/// What an attribute line belongs to.
enum Entry {
    None,
    /// A symbol; its newest definition is meant.
    Symbol(String),
    /// The innermost menu or choice.
    Block,
}

struct Reader<'a> {
    root: &'a Path,
    arch: &'a str,
    tree: Tree,
    blocks: Vec<Block>,
    entry: Entry,
    files: HashSet<String>,
}

impl Reader<'_> {
    fn file(&mut self, name: &str) -> Result<()> {
        let text = match fsx::read_optional(&self.root.join(name))? {
            // A file may be sourced twice under different conditions, but never by itself.
            Some(text) if self.files.insert(name.to_string()) => text,
            _ => return Ok(()),
        };
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let mut line = line.to_string();
            while line.ends_with('\\') {
                line.pop();
                line += lines.next().map_or("", |(_, next)| next);
            }
            let words = line.trim();
            if matches!(words, "help" | "---help---") {
                let mut indent = None;
                while let Some((_, help)) = lines.peek() {
                    let depth = depth(help);
                    if !help.trim().is_empty() {
                        let least = *indent.get_or_insert(depth.max(1));
                        if depth < least {
                            break;
                        }
                    }
                    lines.next();
                }
            } else if !words.is_empty() && !words.starts_with('#') {
                self.line(words, name, number + 1)?;
            }
        }
        self.files.remove(name);
        Ok(())
    }

    fn line(&mut self, line: &str, file: &str, number: usize) -> Result<()> {
        let (keyword, rest) = line.split_once(|c: char| c.is_whitespace()).unwrap_or((line, ""));
        let rest = rest.trim();
        match keyword {
            "source" | "osource" => self.source(rest)?,
            "rsource" | "orsource" => {
                let dir = file.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
                self.source(&format!("{dir}{}", rest.trim_matches('"')))?;
            }
            "config" | "menuconfig" => self.define(rest, format!("{file}:{number}")),
            "if" => {
                self.blocks.push(Block::If(expression(rest)));
                self.entry = Entry::None;
            }
            "menu" => {
                self.blocks.push(Block::Menu(Vec::new()));
                self.entry = Entry::Block;
            }
            "choice" => {
                self.tree.choices.push(Vec::new());
                self.blocks.push(Block::Choice(self.tree.choices.len() - 1, Vec::new()));
                self.entry = Entry::Block;
            }
            "endif" | "endmenu" | "endchoice" => {
                self.blocks.pop();
                self.entry = Entry::None;
            }
            "comment" | "mainmenu" => self.entry = Entry::None,
            _ => self.attribute(keyword, rest),
        }
        Ok(())
    }

    fn source(&mut self, name: &str) -> Result<()> {
        let name = name.trim_matches('"').replace("$(SRCARCH)", self.arch).replace("$SRCARCH", self.arch);
        self.entry = Entry::None;
        self.file(&name)
    }

    fn define(&mut self, name: &str, place: String) {
        let mut definition = Definition { place, ..Definition::default() };
        for block in &self.blocks {
            match block {
                Block::If(expr) => definition.depends.push(expr.clone()),
                Block::Menu(depends) => definition.depends.extend(depends.iter().cloned()),
                Block::Choice(choice, depends) => {
                    definition.depends.extend(depends.iter().cloned());
                    definition.choice = Some(*choice);
                    if let Some(members) = self.tree.choices.get_mut(*choice) {
                        members.push(name.to_string());
                    }
                }
            }
        }
        self.tree.symbols.entry(name.to_string()).or_default().push(definition);
        self.entry = Entry::Symbol(name.to_string());
    }

    fn attribute(&mut self, keyword: &str, rest: &str) {
        if keyword == "depends" {
            let expr = expression(rest.trim_start_matches("on").trim());
            match (&self.entry, self.blocks.last_mut()) {
                (Entry::Block, Some(Block::Menu(depends) | Block::Choice(_, depends))) => depends.push(expr),
                (Entry::Symbol(_), _) => {
                    if let Some(definition) = self.definition() {
                        definition.depends.push(expr);
                    }
                }
                _ => {}
            }
            return;
        }
        let Entry::Symbol(name) = &self.entry else { return };
        if keyword == "select" {
            let (target, condition) = split_if(rest);
            let selector = (name.clone(), condition);
            self.tree.selected_by.entry(target.to_string()).or_default().push(selector);
            return;
        }
        let Some(definition) = self.definition() else { return };
        match keyword {
            "bool" | "tristate" | "string" | "int" | "hex" | "prompt" => {
                if keyword != "prompt" {
                    definition.kind = keyword.to_string();
                }
                if let Some(after) = after_text(rest) {
                    definition.prompt = true;
                    definition.prompt_if = after.strip_prefix("if").map(expression);
                }
            }
            "def_bool" | "def_tristate" => definition.kind = keyword.trim_start_matches("def_").to_string(),
            "range" => {
                let (bounds, condition) = split_if(rest);
                if let [low, high] = bounds.split_whitespace().collect::<Vec<_>>()[..] {
                    definition.ranges.push((low.to_string(), high.to_string(), condition));
                }
            }
            _ => {}
        }
    }

    fn definition(&mut self) -> Option<&mut Definition> {
        let Entry::Symbol(name) = &self.entry else { return None };
        self.tree.symbols.get_mut(name)?.last_mut()
    }
}

/// An expression; text that is none stands for itself and counts as true.
fn expression(text: &str) -> Expr {
    Expr::parse(text).unwrap_or_else(|| Expr::Macro(text.trim().to_string()))
}

/// `X if COND`.
fn split_if(text: &str) -> (&str, Option<Expr>) {
    match text.split_once(" if ") {
        Some((what, condition)) => (what.trim(), Some(expression(condition))),
        None => (text.trim(), None),
    }
}

/// What follows the quoted prompt; `None` without one.
fn after_text(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return Some(text[i + 1..].trim());
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Indentation in columns, tabs being eight wide.
fn depth(line: &str) -> usize {
    let mut depth = 0;
    for c in line.chars() {
        match c {
            ' ' => depth += 1,
            '\t' => depth = (depth / 8 + 1) * 8,
            _ => break,
        }
    }
    depth
}
