//! Any users file is taken or refused at a line that it has; verifiers in it survive being written; no secret is shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstep_core::auth::scram::Verifier;
use lockstep_core::auth::{Secret, Users};

fuzz_target!(|text: &str| {
    let users = match Users::parse(text) {
        Ok(users) => users,
        Err(fault) => {
            assert!((1..=text.lines().count()).contains(&fault.line), "{fault}");
            return;
        }
    };
    for (user, secret) in users.iter() {
        assert_eq!(users.get(user), Some(secret));
        assert!(!user.is_empty() && !user.contains([':', '\n']));
        assert!(["Md5(..)", "Scram(..)", "Plain(..)"].contains(&format!("{secret:?}").as_str()));
        match secret {
            Secret::Plain(password) => assert!(!password.is_empty() && !password.contains('\n')),
            Secret::Scram(verifier) => assert_eq!(Verifier::parse(&verifier.to_text()).as_ref(), Ok(verifier)),
            Secret::Md5(_) => {}
        }
    }
});
