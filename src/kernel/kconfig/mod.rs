//! Why Kconfig did not honour a request: read from the tree's Kconfig files, held against the final
//! configuration.

mod expr;
mod parse;

pub use expr::{Expr, Tri};
pub use parse::{Definition, Tree};

use super::config::{Request, Values};
use crate::error::nearest;

/// An answer for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Continues "the request …": ``became `n`: …``.
    pub why: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Explanation {
    fn new(why: String, hint: Option<String>) -> Self {
        Explanation { why, hint }
    }
}

/// True when `values` does not hold a request because a later layer asks for another option of the same choice: as
/// with one option, the later word counts.
pub fn is_overridden(tree: &Tree, request: &Request, requests: &[Request], values: &Values) -> bool {
    request.value != "n"
        && choice_of(tree, &request.symbol)
            .and_then(|(_, members)| chosen_by(members, requests, values))
            .is_some_and(|winner| winner.layer > request.layer)
}

/// The choice that a symbol belongs to: where it is defined as an option of it, and all options.
fn choice_of<'a>(tree: &'a Tree, symbol: &str) -> Option<(&'a Definition, &'a [String])> {
    let definition = tree.symbols.get(symbol)?.iter().find(|d| d.choice.is_some())?;
    Some((definition, tree.choices.get(definition.choice?)?))
}

/// The request that got its option of a choice.
fn chosen_by<'a>(members: &[String], requests: &'a [Request], values: &Values) -> Option<&'a Request> {
    requests.iter().find(|request| {
        request.value == "y" && values.is_y(&request.symbol) && members.contains(&request.symbol)
    })
}

/// Explains one of the requests, which `values` does not hold.
pub fn explain(tree: &Tree, request: &Request, requests: &[Request], values: &Values) -> Explanation {
    let symbol = request.symbol.as_str();
    let Some(definitions) = tree.symbols.get(symbol) else {
        return unknown(tree, symbol);
    };
    let got = values.get(symbol);
    let became = format!("became `{got}`");
    let kind = definitions.iter().map(|d| d.kind.as_str()).find(|kind| !kind.is_empty()).unwrap_or("");
    if let Some(why) = wrong_kind(kind, &request.value) {
        return Explanation::new(format!("{became}: {why}"), None);
    }
    let wanted = match request.value.as_str() {
        "n" => return forced(tree, symbol, definitions, values, &became),
        "m" if got == "y" => return forced(tree, symbol, definitions, values, &became),
        "m" => Tri::M,
        _ => Tri::Y,
    };
    // A number or text only needs to be visible.
    let need = if matches!(kind, "bool" | "tristate") { wanted } else { Tri::M };
    held_back(tree, request, requests, definitions, values, need, &became)
}

fn unknown(tree: &Tree, symbol: &str) -> Explanation {
    let near = nearest(symbol, tree.symbols.keys().map(String::as_str));
    Explanation::new(
        "is no option of this kernel".to_string(),
        near.map(|near| format!("nearest to `CONFIG_{symbol}`: `CONFIG_{near}`")),
    )
}

fn wrong_kind(kind: &str, value: &str) -> Option<String> {
    let fits = match kind {
        "bool" => matches!(value, "y" | "n"),
        "tristate" => matches!(value, "y" | "m" | "n"),
        "string" => value.starts_with('"') || value == "n",
        "int" | "hex" => value.starts_with(|c: char| c.is_ascii_digit() || c == '-') || value == "n",
        _ => true,
    };
    let takes = match kind {
        "bool" => "is a bool: `y` or `n`",
        "tristate" => "is a tristate: `y`, `m` or `n`",
        "string" => "is a string: write it in double quotes",
        "int" => "is a number",
        _ => "is a hexadecimal number",
    };
    (!fits).then(|| format!("it {takes}"))
}

/// Why a symbol is on, or built in, although less was asked for.
fn forced(
    tree: &Tree,
    symbol: &str,
    definitions: &[Definition],
    values: &Values,
    became: &str,
) -> Explanation {
    let selectors = active_selectors(tree, symbol, values);
    if !selectors.is_empty() {
        let shown: Vec<String> =
            selectors.iter().map(|name| format!("`CONFIG_{name}={}`", values.get(name))).collect();
        let hint = format!("turn off what selects `CONFIG_{symbol}`, or drop the request");
        return Explanation::new(format!("{became}: selected by {}", some_of(&shown)), Some(hint));
    }
    if !values.is_y("MODULES") && values.is_y(symbol) && definitions.iter().all(|d| d.choice.is_none()) {
        let tristate = definitions.iter().any(|d| d.kind == "tristate");
        if tristate && visible(definitions, values) {
            return Explanation::new(
                format!("{became}: `CONFIG_MODULES` is n, so nothing can be a module"),
                Some("`CONFIG_MODULES=y` is needed for `=m`".to_string()),
            );
        }
    }
    if let Some(definition) = definitions.iter().find(|d| d.choice.is_some()) {
        let why = format!("{became}: it is what a choice falls back to ({})", definition.place);
        return Explanation::new(why, Some("set another option of that choice to `y`".to_string()));
    }
    not_settable(definitions, values, became).unwrap_or_else(|| {
        Explanation::new(format!("{became}: its default prevails ({})", places(definitions)), None)
    })
}

/// Why a symbol is off, or only a module, or keeps another value.
fn held_back(
    tree: &Tree,
    request: &Request,
    requests: &[Request],
    definitions: &[Definition],
    values: &Values,
    need: Tri,
    became: &str,
) -> Explanation {
    // Of several definitions any one will do: explain the one that lacks least.
    let lacking = |d: &Definition| d.depends.iter().flat_map(|e| e.unmet(values, need)).collect::<Vec<_>>();
    if let Some(best) = definitions.iter().min_by_key(|d| (!d.prompt, lacking(d).len()))
        && !lacking(best).is_empty()
    {
        let failing: Vec<&Expr> = best.depends.iter().filter(|e| e.eval(values) < need).collect();
        let depends: Vec<String> = failing
            .iter()
            .map(|expr| match expr {
                Expr::Or(_) if failing.len() > 1 => format!("({expr})"),
                _ => expr.to_string(),
            })
            .collect();
        let mut terms = lacking(best);
        terms.dedup();
        let why = format!(
            "{became}: it depends on `{}` ({}), and {}",
            depends.join(" && "),
            best.place,
            terms.join(", ")
        );
        return Explanation::new(why, hint_for(tree, &failing, values, need));
    }
    if let Some(explanation) = other_choice(tree, request, requests, values, became) {
        return explanation;
    }
    if let Some(explanation) = not_settable(definitions, values, became) {
        let selectors: Vec<String> = tree
            .selected_by
            .get(&request.symbol)
            .into_iter()
            .flatten()
            .map(|(name, _)| format!("`CONFIG_{name}`"))
            .collect();
        let hint = (!selectors.is_empty()).then(|| format!("it is selected by {}", some_of(&selectors)));
        return Explanation { hint: explanation.hint.or(hint), ..explanation };
    }
    let range = definitions.iter().flat_map(|d| &d.ranges).find(|(_, _, condition)| {
        condition.as_ref().is_none_or(|condition| condition.eval(values) == Tri::Y)
    });
    if let Some((low, high, _)) = range {
        return Explanation::new(
            format!("{became}: its range is {low} to {high} ({})", places(definitions)),
            None,
        );
    }
    Explanation::new(
        format!("{became}: see {}", places(definitions)),
        Some("a dependency may ask the compiler; `make menuconfig` shows it".to_string()),
    )
}

/// A member of a choice loses to another one.
fn other_choice(
    tree: &Tree,
    request: &Request,
    requests: &[Request],
    values: &Values,
    became: &str,
) -> Option<Explanation> {
    let (definition, members) = choice_of(tree, &request.symbol)?;
    let chosen = members.iter().find(|member| values.is_y(member))?;
    let hint = match chosen_by(members, requests, values) {
        Some(winner) => format!(
            "both `{}` ({}) and `{}` ({}) are asked for: keep one of them",
            request.display(),
            request.origin,
            winner.display(),
            winner.origin
        ),
        None => format!("ask for `CONFIG_{chosen}=n` nowhere and for one option of the choice only"),
    };
    Some(Explanation::new(
        format!(
            "{became}: only one option of a choice can be set, and it is `CONFIG_{chosen}` ({})",
            definition.place
        ),
        Some(hint),
    ))
}

/// No prompt at all, or one that is hidden.
fn not_settable(definitions: &[Definition], values: &Values, became: &str) -> Option<Explanation> {
    if definitions.iter().all(|d| !d.prompt) {
        let why =
            format!("{became}: it has no prompt ({}), only other options can set it", places(definitions));
        return Some(Explanation::new(why, None));
    }
    let hidden = definitions.iter().filter(|d| d.prompt).find_map(|d| {
        let condition = d.prompt_if.as_ref()?;
        (condition.eval(values) == Tri::N).then_some((d, condition))
    })?;
    if visible(definitions, values) {
        return None;
    }
    let (definition, condition) = hidden;
    let terms = condition.unmet(values, Tri::M);
    let why = format!(
        "{became}: it can be set only if `{condition}` ({}), and {}",
        definition.place,
        terms.join(", ")
    );
    let mut missing = Vec::new();
    condition.missing_symbols(values, Tri::M, &mut missing);
    let hint = missing.first().map(|name| format!("`CONFIG_{name}=y` makes it settable"));
    Some(Explanation::new(why, hint))
}

fn visible(definitions: &[Definition], values: &Values) -> bool {
    definitions
        .iter()
        .any(|d| d.prompt && d.prompt_if.as_ref().is_none_or(|condition| condition.eval(values) > Tri::N))
}

fn hint_for(tree: &Tree, failing: &[&Expr], values: &Values, need: Tri) -> Option<String> {
    let mut missing = Vec::new();
    for expr in failing {
        expr.missing_symbols(values, need, &mut missing);
    }
    missing.dedup();
    let settable =
        |name: &str| tree.symbols.get(name).is_some_and(|definitions| definitions.iter().any(|d| d.prompt));
    let (can, cannot): (Vec<&str>, Vec<&str>) = missing.into_iter().partition(|name| settable(name));
    if let Some(name) = cannot.first() {
        return Some(match tree.selected_by.get(*name) {
            Some(by) => {
                let shown: Vec<String> = by.iter().map(|(name, _)| format!("`CONFIG_{name}`")).collect();
                format!("`CONFIG_{name}` cannot be set by hand; it is selected by {}", some_of(&shown))
            }
            None if tree.symbols.contains_key(*name) => {
                format!(
                    "`CONFIG_{name}` cannot be set by hand: it follows from the architecture, the compiler or other options"
                )
            }
            None => format!("`CONFIG_{name}` does not exist for this architecture: drop the request"),
        });
    }
    let shown: Vec<String> = can.iter().map(|name| format!("`CONFIG_{name}=y`")).collect();
    (!shown.is_empty()).then(|| format!("ask for {} as well, or drop the request", shown.join(", ")))
}

fn active_selectors(tree: &Tree, symbol: &str, values: &Values) -> Vec<String> {
    let mut names: Vec<String> = tree
        .selected_by
        .get(symbol)
        .into_iter()
        .flatten()
        .filter(|(name, condition)| {
            values.get(name) != "n" && condition.as_ref().is_none_or(|c| c.eval(values) > Tri::N)
        })
        .map(|(name, _)| name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn places(definitions: &[Definition]) -> String {
    definitions.iter().map(|d| d.place.as_str()).collect::<Vec<_>>().join(", ")
}

fn some_of(shown: &[String]) -> String {
    const MAX: usize = 5;
    match shown.len() {
        0..=MAX => shown.join(", "),
        more => format!("{} and {} more", shown[..MAX].join(", "), more - MAX),
    }
}

#[cfg(test)]
mod tests;
