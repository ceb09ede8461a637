//! What serde says of a value of the wrong kind, in the words of whoever wrote the file.

/// `invalid type: string "2", expected i64` says little to somebody who does not write Rust.
pub fn plainly(message: &str) -> String {
    if let Some((found, wanted)) = parts(message, "invalid type: ").or_else(|| parts(message, "invalid value: ")) {
        return format!("is {}; write {}", written(found), good(wanted));
    }
    if let Some((found, wanted)) = parts(message, "unknown variant ") {
        let wanted = wanted.trim_start_matches("one of ").replace('`', "\"");
        return format!("{found} is not known here; write {wanted}");
    }
    message.to_owned()
}

fn parts<'a>(message: &'a str, before: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(before)?.split_once(", expected ")
}

fn written(found: &str) -> String {
    let value = |rest: &str| rest.split('`').nth(1).unwrap_or(rest).to_owned();
    let (kind, rest) = found.split_once(' ').unwrap_or((found, ""));
    match kind {
        "string" => format!("a text, {rest}"),
        "integer" => format!("a number, {}", value(rest)),
        "floating" => format!("a number with a fraction, {}", value(rest)),
        "boolean" => value(rest),
        "sequence" => "a list".into(),
        "map" => "a section".into(),
        _ => found.to_owned(),
    }
}

fn good(wanted: &str) -> &str {
    match wanted {
        "i64" => "a whole number such as 2, without quotes",
        "a string" | "path string" => "a text in quotes",
        "a sequence" => r#"a list such as ["ssh", "postgres@alp"]"#,
        other if other.starts_with("struct ") || other == "a map" => "a section, in brackets and on a line of its own",
        other => other,
    }
}
