//! COPY whose rows the leader makes whole ([`CopyRows`]).
//!
//! ```text
//! to the leader                    to the client
//! CREATE TEMPORARY TABLE landing
//! INSERT … SELECT FROM landing     what the INSERT is refused for, before any data, as COPY itself does it
//! COPY landing                     CopyInResponse; errors in the data
//!   the client's data
//! INSERT … SELECT … RETURNING      COPY n; its rows go into the log
//! DROP TABLE landing
//! ```

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Session;
use crate::fault::SqlState;
use crate::plan::landing::{DROP, NAME, Texts};
use crate::plan::{CopyRows, Marks};
use crate::reply::{Execution, Own, Share, Source, What};
use crate::wire::notice::Fields;
use crate::wire::{Frame, backend};

/// A COPY under way.
#[derive(Debug)]
pub(super) struct Landing {
    copy: Arc<CopyRows>,
    texts: Texts,
    source: Source,
    marks: Marks,
    /// Characters of the client's text before its statement.
    shift: i64,
    /// The landing table is there.
    made: bool,
}

const HINT: &str = "A COPY that leaves values to the server goes through a temporary table: it needs TEMPORARY on the \
    database, and SELECT on the table.";

impl Session {
    /// Makes ready for the client's COPY. Returns the text of the COPY that is to be sent; `None`: it was refused.
    pub(super) fn begin_landing(
        &mut self,
        copy: &Arc<CopyRows>,
        text: &Bytes,
        marks: Marks,
        source: Source,
        shift: usize,
    ) -> Option<Bytes> {
        let Some(texts) = copy.texts(text, &self.readable(text)) else {
            self.poison(Self::not_understood(), 0);
            return None;
        };
        self.writes(source.planned_in);
        self.ask(&copy.create, Own::Landing);
        self.run_own(&texts.insert, &[], Execution::Own(Own::Landing));
        let sent = texts.copy.clone();
        self.landing = Some(Landing { copy: copy.clone(), texts, source, marks, shift: shift as i64, made: false });
        Some(sent)
    }

    pub(super) fn landing_made(&mut self) {
        if let Some(landing) = &mut self.landing {
            landing.made = true;
        }
    }

    /// The data has ended: its rows go on into the client's table. If the data was bad, the leader passes this over.
    pub(super) fn move_landed(&mut self) {
        let Some(Landing { copy, texts, source, marks, .. }) = &self.landing else { return };
        let (write, insert) = (copy.write.clone(), texts.insert.clone());
        let mut execution = self.write_execution(&write, *marks, source.clone(), Share::default());
        execution.copies = true;
        let formats = self.result_formats(&write, &[]);
        self.run_own(&insert, &formats, Execution::Write(execution));
        self.ask(DROP, Own::Landing);
    }

    /// The rows have been moved: the client is told of its COPY.
    pub(super) fn landed(&mut self, insert: &Frame) {
        self.landing = None;
        let tag = backend::read_command_complete(insert.body()).unwrap_or_default();
        let rows = String::from_utf8_lossy(&tag).rsplit(' ').next().unwrap_or("0").to_owned();
        let mut complete = BytesMut::new();
        backend::command_complete(&mut complete, &format!("COPY {rows}"));
        self.completed(&complete);
    }

    /// Makes of an error in one of our texts what it would be in the client's.
    pub(super) fn reword_for_copy(&mut self, fields: &mut Fields) {
        let Some(Landing { copy, texts, shift, made, .. }) = self.landing.take() else { return };
        let in_text = match self.owed.front().map(|owed| &owed.what) {
            Some(What::Execution(Execution::Landing { .. })) => Some(texts.copy_shift),
            _ if made => texts.insert_shift,
            _ => None,
        };
        fields.move_position(in_text.map(|in_text| in_text + shift));
        fields.reword(NAME, &copy.table);
        if !made && fields.state() == SqlState::READ_ONLY_TRANSACTION.0.as_bytes() {
            fields.reword("CREATE TABLE AS", "COPY FROM");
        }
        if !made && fields.state() == SqlState::INSUFFICIENT_PRIVILEGE.0.as_bytes() {
            fields.hint(HINT);
        }
    }
}
