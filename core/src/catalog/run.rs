//! Text that a body in PL/pgSQL runs by EXECUTE.
//!
//! A plain literal is read like a statement of the body. What anything else comes to is known to the server alone, when it
//! has run ([`super::watch`]); tables that the literals of such a body name as targets are a guess at what it writes to.

use crate::sql::{Kind, Token};

/// The plain literals that a body runs, and whether it also runs something else.
pub(super) fn texts(text: &str, tokens: &[Token]) -> (Vec<String>, bool) {
    let (mut literals, mut others) = (Vec::new(), false);
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.is_word(text, "execute")) {
        match tokens.get(at + 1).filter(|_| ends(text, tokens.get(at + 2))) {
            Some(literal) if literal.kind == Kind::String => match content(&text[literal.start..literal.end]) {
                Some(content) => literals.push(content),
                None => others = true,
            },
            _ => others = true,
        }
    }
    (literals, others)
}

/// Whether no expression goes on here.
fn ends(text: &str, next: Option<&Token>) -> bool {
    next.is_some_and(|next| {
        next.is(text, b';') || ["into", "using", "loop"].iter().any(|word| next.is_word(text, word))
    })
}

/// What stands in a literal. `None`: it is of another kind, or a setting says what a sign in it means.
pub(super) fn content(literal: &str) -> Option<String> {
    if let Some(plain) = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        // One of several in a row has a quote of its own in it.
        let whole = !plain.replace("''", "").contains('\'') && !plain.contains('\\');
        return whole.then(|| plain.replace("''", "'"));
    }
    let tag = literal.strip_prefix('$')?.find('$')? + 2;
    literal.get(tag..literal.len().checked_sub(tag)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::catalog::body::{Body, Language};

    fn plpgsql(text: &str) -> Body {
        Body::read(text, Language::PlPgSql).unwrap()
    }

    #[test]
    fn a_plain_literal_is_read_like_a_statement_of_the_body() {
        let body = plpgsql("BEGIN EXECUTE 'INSERT INTO t VALUES ($1, ''x''), (f(2))' USING a; END");
        assert!(!body.runs_text && body.statement.is_none() && body.called.contains("f"));
        assert_eq!(body.targets, ["t"]);
        let loops =
            plpgsql("BEGIN FOR r IN EXECUTE $q$ SELECT * FROM s $q$ LOOP EXECUTE 'DELETE FROM s'; END LOOP; END");
        assert_eq!((loops.runs_text, loops.statement, loops.targets), (false, None, vec!["s".to_owned()]));
        for (text, word) in [("'CREATE TABLE t (id int)'", "CREATE"), ("'SET ROLE x'", "SET"), ("'COMMIT'", "COMMIT")] {
            let body = plpgsql(&format!("BEGIN EXECUTE {text}; END"));
            assert_eq!((body.runs_text, body.statement.as_deref()), (false, Some(word)), "{text}");
        }
    }

    #[test]
    fn what_is_made_of_more_than_a_literal_is_not_known() {
        for text in ["q", "'a' || b", "'DELETE FROM t WHERE' \n ' true'", "E'SELECT 1'", "'SELECT \\n'", "('SELECT 1')"]
        {
            assert!(plpgsql(&format!("BEGIN EXECUTE {text}; END")).runs_text, "{text}");
        }
        for text in
            ["BEGIN RETURN QUERY EXECUTE q; END", "BEGIN OPEN c FOR EXECUTE q; END", "BEGIN EXECUTE 'EXECUTE p'; END"]
        {
            let body = plpgsql(text);
            assert_eq!((body.runs_text, body.statement), (true, None), "{text}");
        }
        assert!(Body::read("EXECUTE p", Language::Sql).unwrap().runs_text);
    }

    #[test]
    fn what_literals_name_is_a_guess() {
        let body = plpgsql(
            "BEGIN EXECUTE format('INSERT INTO s.log SELECT $1, %L', x) USING a; EXECUTE 'UPDATE u SET ' || c; END",
        );
        assert_eq!((body.runs_text, &body.targets[..]), (true, &["log".to_owned(), "u".to_owned()][..]));
        assert_eq!(plpgsql("BEGIN EXECUTE format('INSERT INTO %I VALUES (1)', t); END").targets, [""; 0]);
    }
}
