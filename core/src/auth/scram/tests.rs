use super::client::Opening;
use super::server::Challenge;
use super::*;

/// The exchange of RFC 7677, section 3, but for the user name, which we leave out.
const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

#[test]
fn the_keys_are_those_of_rfc_7677() {
    let salt = decode(SALT).unwrap();
    let keys = Keys::derive("pencil", &salt, 4096);
    let verifier = keys.verifier(&salt, 4096);
    assert_eq!(encode(&verifier.stored_key), "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
    assert_eq!(encode(&verifier.server_key), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
}

#[test]
fn a_server_takes_the_proof_of_rfc_7677_and_gives_its_signature() {
    let salt = decode(SALT).unwrap();
    let keys = Keys::derive("pencil", &salt, 4096);
    let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let challenge = Challenge::with_nonce(first, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", &salt, 4096).unwrap();
    let ours = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    assert_eq!(challenge.message(), ours);
    let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let claim = challenge.claim(last).unwrap();
    assert_eq!(claim.check(&keys.verifier(&salt, 4096)), Some(keys.client_key));
    assert_eq!(claim.server_final(&keys.server_key), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/// Our two roles against each other, as far as the client lets it come.
fn converse(password: &str, verifier: &Verifier) -> (Option<Key>, Result<(), ScramFault>) {
    let opening = Opening::new([1; 18]);
    let challenge = Challenge::new(opening.message().as_bytes(), [2; 18], &verifier.salt, verifier.iterations).unwrap();
    let demand = opening.read(challenge.message().as_bytes()).unwrap();
    let proven = demand.prove(&Keys::derive(password, &demand.salt, demand.iterations));
    let claim = challenge.claim(proven.message().as_bytes()).unwrap();
    let trust = proven.check(claim.server_final(&verifier.server_key).as_bytes());
    (claim.check(verifier), trust)
}

#[test]
fn both_roles_agree_on_the_password_and_the_server_learns_the_client_key() {
    let keys = Keys::derive("secret", b"salt", 10);
    let verifier = keys.verifier(b"salt", 10);
    assert_eq!(converse("secret", &verifier), (Some(keys.client_key), Ok(())));
    assert_eq!(converse("geheim", &verifier), (None, Err(ScramFault::Signature)));
    assert_eq!(converse("secret", &Verifier::of_nobody(b"salt", 10)), (None, Err(ScramFault::Signature)));
}

#[test]
fn a_verifier_survives_a_round_trip_and_is_the_one_that_postgres_protocol_makes() {
    for password in ["secret", "I\u{ad}X", "\u{aa}", "\u{2168}", "\u{7}bell", "\u{627}1", "\u{a0}", "\u{fffd}"] {
        let text = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let theirs = Verifier::parse(&text).unwrap();
        assert_eq!(theirs.to_text(), text);
        let ours = Keys::derive(password, &theirs.salt, theirs.iterations).verifier(&theirs.salt, theirs.iterations);
        assert_eq!(ours, theirs, "{password:?}");
    }
}

#[test]
fn a_password_of_which_saslprep_leaves_nothing_is_taken_as_it_is() {
    assert_eq!(normalize("\u{ad}"), "\u{ad}");
    assert_eq!(normalize("a\u{ad}"), "a");
}

#[test]
fn a_verifier_that_is_cut_or_altered_says_what_is_wrong_with_it() {
    let text = verifier("p", b"s", 1);
    for length in 0..text.len() {
        assert_eq!(Verifier::parse(&text[..length]), Err(VerifierFault::Malformed), "{length} bytes");
    }
    let with = |iterations: &str| Verifier::parse(&text.replace("$1:", &format!("${iterations}:")));
    assert_eq!(with("100001"), Err(VerifierFault::Iterations(100_001)));
    assert!(with("100000").is_ok());
    for malformed in ["0", "", "+1", "-1", "4294967296", "1 "] {
        assert_eq!(with(malformed), Err(VerifierFault::Malformed), "{malformed:?}");
    }
}

#[test]
fn a_mock_salt_is_the_same_for_a_user_and_another_for_every_secret() {
    assert_eq!(mock_salt(&[1; 32], "ann"), mock_salt(&[1; 32], "ann"));
    assert_ne!(mock_salt(&[1; 32], "ann"), mock_salt(&[1; 32], "bob"));
    assert_ne!(mock_salt(&[1; 32], "ann"), mock_salt(&[2; 32], "ann"));
}

#[test]
fn no_key_is_shown() {
    let keys = Keys { client_key: [0xab; 32], server_key: [0xab; 32] };
    let verifier = keys.verifier(b"salt", 1);
    let shown = format!("{keys:?} {verifier:?}");
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab"), "{shown}");
}
