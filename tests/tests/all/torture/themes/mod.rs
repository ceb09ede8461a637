//! What the clients do, by theme. Themes have no tables in common.

mod code;
mod data;
mod rows;
mod schema;
mod session;
mod tables;

use lockstep_tests::chance::Chance;

use super::step::Step;

/// A statement's text with so many parameters, each a number from 1 to the bound beside it.
pub type Shape = (&'static str, &'static [u64]);

pub struct Theme {
    /// For `TORTURE_THEMES`.
    name: &'static str,
    /// What there is before the clients come.
    given: &'static str,
    /// By either protocol, with values in the text or as parameters.
    rows: &'static [Shape],
    /// By either protocol, with values in the text: what takes no parameters.
    texts: &'static [Shape],
    /// Several statements in one message.
    strings: &'static [Shape],
    /// COPY FROM STDIN, with its data.
    copies: &'static [Shape],
    /// Statements that belong into one transaction, with the same values.
    scripts: &'static [&'static [Shape]],
    /// What stops everybody for a moment.
    rare: &'static [Shape],
}

impl Theme {
    const NONE: Self =
        Self { name: "", given: "", rows: &[], texts: &[], strings: &[], copies: &[], scripts: &[], rare: &[] };

    fn step(&self, chance: &mut Chance) -> Step {
        if !self.rare.is_empty() && chance.one_in(30) {
            return filled(chance.of(self.rare), chance);
        }
        let kinds = [self.rows.len(), self.texts.len(), self.strings.len(), self.copies.len(), self.scripts.len()];
        let mut which = chance.below(kinds.iter().sum::<usize>() as u64) as usize;
        if let Some(shape) = self.rows.get(which) {
            return parameters(shape, chance);
        }
        which -= self.rows.len();
        if let Some(shape) = self.texts.get(which) {
            return filled(shape, chance);
        }
        which -= self.texts.len();
        if let Some((sql, bounds)) = self.strings.get(which) {
            return Step::Simple(put_in(sql, &values(bounds, chance)));
        }
        which -= self.strings.len();
        if let Some((sql, bounds)) = self.copies.get(which) {
            let (sql, data) = sql.split_once('\n').expect("a command and its data");
            return Step::Copy(sql, put_in(data, &values(bounds, chance)));
        }
        let script = self.scripts[which - self.copies.len()];
        let bounds = script.iter().map(|(_, bounds)| *bounds).max_by_key(|bounds| bounds.len()).unwrap_or_default();
        let values = values(bounds, chance);
        Step::Script(script.iter().map(|(sql, _)| text(put_in(sql, &values), chance)).collect())
    }
}

const ALL: [&Theme; 6] = [&rows::THEME, &code::THEME, &tables::THEME, &data::THEME, &schema::THEME, &session::THEME];

/// The themes of one run.
pub struct Themes(Vec<&'static Theme>);

impl Themes {
    /// Those whose names are given, or all.
    pub fn chosen() -> Self {
        let Ok(names) = std::env::var("TORTURE_THEMES") else { return Self(ALL.to_vec()) };
        let named = |name| *ALL.iter().find(|theme| theme.name == name).unwrap_or_else(|| panic!("no theme {name}"));
        Self(names.split(',').map(named).collect())
    }

    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|theme| theme.given)
    }

    pub fn step(&self, chance: &mut Chance) -> Step {
        chance.of(&self.0).step(chance)
    }
}

fn parameters(shape: &Shape, chance: &mut Chance) -> Step {
    let (sql, bounds) = shape;
    if chance.one_in(2) {
        Step::Extended(sql, values(bounds, chance))
    } else {
        Step::Simple(put_in(sql, &values(bounds, chance)))
    }
}

fn filled((sql, bounds): &Shape, chance: &mut Chance) -> Step {
    text(put_in(sql, &values(bounds, chance)), chance)
}

fn text(sql: String, chance: &mut Chance) -> Step {
    if chance.one_in(2) { Step::Alone(sql) } else { Step::Simple(sql) }
}

fn values(bounds: &[u64], chance: &mut Chance) -> Vec<String> {
    bounds.iter().map(|bound| (chance.below(*bound) + 1).to_string()).collect()
}

fn put_in(text: &str, values: &[String]) -> String {
    let numbered = values.iter().enumerate();
    numbered.fold(text.to_owned(), |text, (n, value)| text.replace(&format!("${}", n + 1), value))
}
