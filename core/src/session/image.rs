//! DDL whose rows followers get from the leader ([`Image`]).
//!
//! ```text
//! to the leader                     into the log
//! the client's command
//! what has become of the table      settings and role; what makes or empties the table
//! the catalog, if it is not known
//! SELECT … FROM the table           its rows
//! ```
//!
//! For a materialized view, whose rows followers make themselves, the last step is a lock on what it reads, and to fill it
//! again.
//!
//! The client is told that its command is done when all of that is. Nothing more is sent to the leader meanwhile.

use std::sync::Arc;

use bytes::Bytes;

use super::{AfterDrain, Gate, Session, World};
use crate::fault::{Fault, SqlState};
use crate::plan::policy::Way;
use crate::plan::{Carried, Image, Marks, Waived};
use crate::reply::{Done, Execution, Own, Shape, Share, Source};
use crate::wire::{Frame, backend};

/// A command under way.
#[derive(Debug)]
pub(super) struct Imaging {
    image: Arc<Image>,
    text: Arc<str>,
    source: Source,
    marks: Marks,
    /// Its rows cannot be taken over, and each server makes its own.
    waived: Option<Arc<Waived>>,
    stage: Stage,
    /// The command's CommandComplete.
    complete: Bytes,
}

#[derive(Debug)]
enum Stage {
    /// The command has been sent.
    Running,
    /// It has run.
    Run,
    /// The leader has been asked about the table.
    Asked(Vec<Vec<Option<Bytes>>>),
    /// The table's rows are being read, or what a view reads is being locked, or neither is needed.
    Last,
}

impl Session {
    /// Makes ready for the client's command, which is then to be sent. False: the settings are asked first, or it was
    /// refused.
    pub(super) fn begin_image(
        &mut self,
        image: &Arc<Image>,
        text: &Bytes,
        marks: Marks,
        source: Source,
        then: AfterDrain,
    ) -> bool {
        if !self.knows_settings(then) {
            return false;
        }
        let Ok(readable) = std::str::from_utf8(text) else {
            let why = "this DDL is refused: it has characters that are not UTF-8";
            self.poison(
                Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Set client_encoding to UTF8."),
                0,
            );
            return false;
        };
        self.writes(source.planned_in);
        if marks.sequences {
            self.move_sequences();
        }
        let (image, text) = (image.clone(), readable.into());
        self.imaging =
            Some(Imaging { image, text, source, marks, waived: None, stage: Stage::Running, complete: Bytes::new() });
        true
    }

    /// The same in a script.
    pub(super) fn script_image(&mut self, image: &Arc<Image>, text: &Bytes, marks: Marks, source: Source, shift: u32) {
        if self.begin_image(image, text, marks, source, AfterDrain::Script) {
            self.segment.unsettled = true;
            self.send(&image.sent(text), &[], Shape::Whole, Execution::Image, shift);
            self.step_script();
            self.drain(AfterDrain::Image);
        } else if self.settings.is_some() {
            self.drain(AfterDrain::Script);
        }
    }

    /// The client's command has run.
    pub(super) fn image_run(&mut self, frame: &Frame) {
        let Some(imaging) = &mut self.imaging else { return };
        let tag = backend::read_command_complete(frame.body()).unwrap_or_default();
        imaging.complete = frame.raw.clone();
        imaging.stage = if imaging.image.was_passed_over(&tag) { Stage::Last } else { Stage::Run };
    }

    /// The leader has told about the table.
    pub(super) fn image_found(&mut self, rows: Vec<Vec<Option<Bytes>>>) {
        if let Some(imaging) = self.imaging.as_mut().filter(|imaging| matches!(imaging.stage, Stage::Run)) {
            imaging.stage = Stage::Asked(rows);
        }
    }

    /// Everything that was sent has been answered.
    pub(super) fn image_step(&mut self, world: &mut World<'_>) {
        let Some(imaging) = self.imaging.take() else {
            self.gate = Gate::Open;
            return;
        };
        match imaging.stage {
            Stage::Run => {
                let question = imaging.image.question();
                self.imaging = Some(imaging);
                self.enter_schema();
                self.ask(&question, Own::Image);
                self.drain(AfterDrain::Image);
            }
            Stage::Asked(ref found) => match (self.catalog(), self.converts()) {
                (Some(catalog), Some(converts)) => {
                    let carried = imaging.image.carried(&imaging.text, found, &catalog, converts);
                    self.carry(imaging, carried);
                }
                (None, _) => {
                    self.imaging = Some(imaging);
                    self.ask_catalog();
                    self.drain(AfterDrain::Image);
                }
                (_, None) => {
                    self.imaging = Some(imaging);
                    self.ask_search_path();
                    self.drain(AfterDrain::Image);
                }
            },
            Stage::Running | Stage::Last => self.image_done(imaging, world),
        }
    }

    fn carry(&mut self, mut imaging: Imaging, carried: Result<Carried, Fault>) {
        let carried = match carried {
            Ok(carried) => carried,
            Err(fault) => match Waived::of(self.policy, &fault, Way::Text) {
                None => {
                    self.poison(fault, 0);
                    return self.await_answers();
                }
                waived => {
                    imaging.waived = waived.map(Arc::new);
                    Carried::of(vec![imaging.text.to_string()])
                }
            },
        };
        for text in &carried.texts {
            self.unit.log.schema_change(text);
        }
        if let Some((select, write)) = carried.rows {
            let execution = self.write_execution(&write, Marks::default(), imaging.source.clone(), Share::default());
            let formats = self.result_formats(&write, &[]);
            self.run_own(select.as_bytes(), &formats, Execution::ImageRows(execution));
        }
        if let Some(held) = carried.held {
            self.ask(&held, Own::Image);
        }
        imaging.stage = Stage::Last;
        self.imaging = Some(imaging);
        self.drain(AfterDrain::Image);
    }

    fn image_done(&mut self, imaging: Imaging, world: &mut World<'_>) {
        self.settings = None;
        self.check_source(imaging.source);
        self.forget_names();
        let done = Done { marks: imaging.marks, waived: imaging.waived, ..Done::default() };
        self.warn_of(&done);
        self.completed(&imaging.complete);
        self.apply(&done);
        if self.segment.script.is_some() {
            self.gate = Gate::Ending;
            self.run_script(world);
        } else {
            self.gate = Gate::Open;
        }
    }
}
