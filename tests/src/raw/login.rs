//! Logging in by whatever the server asks for.

use bytes::BytesMut;
use lockstep_core::wire::backend::{self, Authentication};
use lockstep_core::wire::frontend;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::{Client, Failure};
use crate::users::User;

impl Client {
    /// Answers the server's questions up to its first ReadyForQuery.
    pub fn log_in(&mut self, user: &User) -> Result<(), Failure> {
        let mut scram = ScramSha256::new(user.password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let frame = self.try_read()?.ok_or(Failure::closed())?;
            match frame.tag {
                backend::AUTHENTICATION => {
                    let asked = Authentication::read(frame.body()).expect("an Authentication message");
                    self.reply_to(asked, user, &mut scram)?;
                }
                backend::ERROR_RESPONSE => return Err(Failure::of_frame(&frame)),
                backend::READY_FOR_QUERY => return Ok(()),
                _ => {
                    self.take_key_data(&frame);
                    self.greeting.push(frame);
                }
            }
        }
    }

    fn reply_to(&mut self, asked: Authentication, user: &User, scram: &mut ScramSha256) -> Result<(), Failure> {
        match asked {
            Authentication::Ok => return Ok(()),
            Authentication::Cleartext => self.send_password(user.password),
            Authentication::Md5 { salt } => {
                self.send_password(&md5_hash(user.name.as_bytes(), user.password.as_bytes(), salt));
            }
            Authentication::Sasl { mechanisms } => {
                assert!(mechanisms.iter().any(|m| m == SCRAM_SHA_256), "no mechanism of {mechanisms:?} is known here");
                let first = scram.message().to_owned();
                self.put(|out| sasl_initial_response(out, &first));
            }
            Authentication::SaslContinue(data) => {
                scram.update(&data)?;
                let last = scram.message().to_owned();
                self.put(|out| frontend::password(out, &last));
            }
            Authentication::SaslFinal(data) => scram.finish(&data)?,
            Authentication::Other(code) => panic!("authentication method {code} is not known here"),
        }
        Ok(self.try_flush()?)
    }

    fn send_password(&mut self, password: &str) {
        self.put(|out| frontend::password(out, format!("{password}\0").as_bytes()));
    }
}

fn sasl_initial_response(out: &mut BytesMut, first: &[u8]) {
    let mut body = BytesMut::new();
    frontend::put_cstr(&mut body, SCRAM_SHA_256.as_bytes());
    backend::put_value(&mut body, Some(first));
    frontend::password(out, &body);
}
