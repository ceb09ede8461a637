//! What a statement costs on the wires between the proxy and its nodes: counted, not timed.

use std::time::Duration;

use lockstep_tests::raw::Client;
use lockstep_tests::wires::{Protocol, UPDATE, Wires, prepare};

/// Long enough for questions that are asked together to be under way together.
const DELAY: Duration = Duration::from_millis(5);

#[test]
fn a_write_takes_three_and_a_transaction_two_more_than_its_statements_whatever_the_number_of_followers() {
    for followers in [1, 2] {
        let wires = Wires::start(followers, DELAY);
        let mut client = wires.connect();
        prepare(&mut client);
        for protocol in Protocol::ALL {
            let heard = wires.cost(|| protocol.run(&mut client, UPDATE));
            assert_eq!(heard.round_trips, 3, "{protocol:?}, {followers} followers: {heard:?}");
            for statements in [1, 4] {
                let heard = wires.cost(|| protocol.transaction(&mut client, statements));
                assert_eq!(heard.round_trips, statements + 2, "{protocol:?}, {followers} followers: {heard:?}");
            }
        }
    }
}

#[test]
fn a_read_only_transaction_takes_a_round_trip_for_each_statement_and_one_to_end() {
    let wires = Wires::start(1, DELAY);
    let mut client = wires.connect();
    let heard = wires.cost(|| ["BEGIN", "SELECT v FROM t", "COMMIT"].iter().for_each(|sql| drop(client.query(sql))));
    assert_eq!(heard.round_trips, 2);
    assert_eq!(heard.tags(1), "", "a follower hears nothing of a read");
}

#[test]
fn a_text_seen_before_is_not_parsed_again_and_nothing_else_is_asked_for_it() {
    let wires = Wires::start(1, Duration::ZERO);
    let mut client = wires.connect();
    let mut ask = |sql: &str| wires.hear(|| drop(client.query(sql)));
    ask("SELECT v FROM t WHERE id = 1");
    ask("UPDATE t SET v = 1 WHERE id = 1");
    let before = wires.parses();
    let read = ask("SELECT v FROM t WHERE id = 77");
    assert_eq!(read.texts(0), ["SELECT v FROM t WHERE id = 77"]);
    let write = ask("UPDATE t SET v = 78 WHERE id = 1");
    let [update] = write.texts(0)[..] else { panic!("{write:?}") };
    assert!(update.starts_with("UPDATE t SET v = 78 WHERE id = 1 RETURNING"), "{update}");
    assert_eq!(write.texts(1), [""; 0], "a follower has the statement prepared");
    assert_eq!(wires.parses(), before);
}

#[test]
fn a_prepared_read_goes_through_as_it_is() {
    let wires = Wires::start(1, Duration::ZERO);
    let mut client = wires.connect();
    client.try_prepare("r", "SELECT v FROM t WHERE id = $1").expect("prepare");
    let heard = wires.cost(|| drop(client.try_execute_prepared("r", &[Some("1")]).expect("execute")));
    assert_eq!((heard.tags(0).as_str(), heard.tags(1).as_str()), ("BES", ""));
}

#[test]
fn a_new_session_pays_nothing_for_texts_that_others_have_brought_and_is_asked_what_names_mean_to_it_while_it_thinks() {
    let wires = Wires::start(1, Duration::ZERO);
    let texts = ["SELECT v FROM t WHERE id = 1", "UPDATE t SET v = 1 WHERE id = 1"];
    // One session for each arbiter there may be, and a few more.
    for _ in 0..8 {
        let mut client = wires.connect();
        texts.iter().for_each(|sql| drop(client.query(sql)));
    }
    let before = wires.parses();
    let mut client = wires.connect();
    let heard = wires.hear(|| texts.iter().for_each(|sql| drop(client.query(sql))));
    assert_eq!(heard.round_trips, 1 + 3, "{heard:?}");
    assert_eq!(wires.parses(), before);
}

#[test]
fn the_count_is_of_round_trips_in_sequence_and_not_of_messages() {
    let wires = Wires::start(1, DELAY);
    let mut client = wires.connect();
    let heard = wires.cost(|| pipeline(&mut client, 10));
    assert_eq!(heard.round_trips, 1, "ten reads in one pipeline");
    assert_eq!(heard.texts(0).len(), 10);
}

fn pipeline(client: &mut Client, reads: usize) {
    use lockstep_core::wire::frontend;
    for _ in 0..reads {
        client.put(|out| frontend::parse(out, b"", b"SELECT v FROM t", &[]));
        client.put(|out| frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]));
        client.put(|out| frontend::execute(out, b"", 0));
    }
    client.put(frontend::sync).flush();
    assert_eq!(client.answer().expect("the rows").rows.len(), reads);
}
