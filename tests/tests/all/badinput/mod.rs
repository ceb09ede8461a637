//! Nonsense from clients, from the network and from nodes: a PostgreSQL error where the protocol has a place for one, and
//! nobody else notices.

mod before_login;
mod messages;
mod nodes;
mod statements;

use lockstep_tests::raw::{Client, Failure};
use lockstep_tests::users::APP;

/// Somebody else's session, which must not notice anything.
struct Bystander(Client);

impl Bystander {
    fn at(address: &str) -> Self {
        let mut client = Client::connect(address, &APP, "postgres");
        client.query("BEGIN; SELECT set_config('bystander.saw', 'all is well', true)");
        Self(client)
    }

    #[track_caller]
    fn noticed_nothing(mut self) {
        assert_eq!(self.0.value("SELECT current_setting('bystander.saw')"), "all is well");
        self.0.query("COMMIT");
    }
}

/// The SQLSTATEs of all errors that come until the server closes the connection.
fn states_until_closed(client: &mut Client) -> Vec<String> {
    let frames = client.until_closed();
    frames.iter().filter(|frame| frame.tag == b'E').map(|frame| Failure::of_frame(frame).state().to_owned()).collect()
}
