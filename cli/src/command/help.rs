//! `lockstep help [TOPIC]`: the pages of `cli/docs`, or the help of a command.

use clap::CommandFactory;

use crate::args::Args;
use crate::exit::{Exit, Stop};
use crate::show;

struct Page {
    topic: &'static str,
    about: &'static str,
    text: &'static str,
}

const PAGES: &[Page] = &[
    Page {
        topic: "getting-started",
        about: "from nothing to two servers behind one address",
        text: include_str!("../../docs/getting-started.md"),
    },
    Page {
        topic: "configuration",
        about: "the file, every setting, a whole example",
        text: include_str!("../../docs/configuration.md"),
    },
    Page { topic: "limits", about: "what is refused, and why", text: include_str!("../../docs/limits.md") },
    Page {
        topic: "capture",
        about: "what triggers, functions and rules change",
        text: include_str!("../../docs/capture.md"),
    },
    Page {
        topic: "recovery",
        about: "how a node comes back, and how to prepare for it",
        text: include_str!("../../docs/recovery.md"),
    },
    Page {
        topic: "two-machines",
        about: "a second proxy that stands by, or takes over",
        text: include_str!("../../docs/two-machines.md"),
    },
    Page {
        topic: "operations",
        about: "day by day: watch, take out, bring back, restart",
        text: include_str!("../../docs/operations.md"),
    },
    Page { topic: "faq", about: "what people ask first", text: include_str!("../../docs/faq.md") },
];

pub fn help(topic: Option<&str>) -> Result<Exit, Stop> {
    let text = match topic {
        None => topics(),
        Some(topic) => page(topic).or_else(|| command(topic)).ok_or_else(|| {
            Stop::usage(format!("there is no topic `{topic}`")).remedy("`lockstep help` lists the topics")
        })?,
    };
    show::line(text.trim_end());
    Ok(Exit::Good)
}

fn topics() -> String {
    let rows: Vec<_> = PAGES.iter().map(|page| vec![format!("  {}", page.topic), page.about.into()]).collect();
    format!(
        "{}\n\nlockstep help TOPIC shows a page; lockstep help COMMAND or lockstep COMMAND --help a command.",
        show::table(&["Topics:", ""], &rows)
    )
}

fn page(topic: &str) -> Option<String> {
    PAGES.iter().find(|page| page.topic == topic).map(|page| page.text.to_owned())
}

fn command(name: &str) -> Option<String> {
    let mut program = Args::command();
    program.build();
    Some(program.find_subcommand_mut(name)?.render_long_help().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_listed_and_begins_with_its_title() {
        for Page { topic, text, .. } in PAGES {
            assert!(topics().contains(topic));
            assert!(text.starts_with("# "), "{topic}");
        }
    }

    #[test]
    fn a_page_that_names_another_names_one_that_exists() {
        for Page { topic, text, .. } in PAGES {
            for mention in text.split("lockstep help ").skip(1) {
                let name: String = mention.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                assert!(name.is_empty() || page(&name).is_some() || command(&name).is_some(), "{topic}: {name}");
            }
        }
    }

    #[test]
    fn a_command_is_a_topic_too() {
        assert!(command("recover").unwrap().contains("lockstep recover alp"));
    }
}
