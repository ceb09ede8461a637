//! Functions of the server itself that do more than compute, by name.

use super::model::Effect;

/// The names as an array's text, for queries.
macro_rules! writers {
    () => {
        "{lo_creat,lo_create,lo_from_bytea,lo_import,lo_export,lo_open,lo_put,lo_truncate,lo_truncate64,lo_unlink,lowrite,\
         query_to_xml,query_to_xmlschema,query_to_xml_and_xmlschema,table_to_xml,table_to_xmlschema,\
         table_to_xml_and_xmlschema,schema_to_xml,schema_to_xml_and_xmlschema,database_to_xml,\
         database_to_xml_and_xmlschema,ts_rewrite,ts_stat,pg_logical_emit_message,pg_replication_origin_create,\
         pg_replication_origin_drop,pg_replication_origin_advance,pg_replication_origin_session_setup,\
         pg_replication_origin_session_reset,pg_replication_origin_xact_setup,pg_replication_origin_xact_reset,\
         pg_replication_slot_advance,pg_create_physical_replication_slot,pg_create_logical_replication_slot,\
         pg_copy_physical_replication_slot,pg_copy_logical_replication_slot,pg_drop_replication_slot,\
         pg_logical_slot_get_changes,pg_logical_slot_get_binary_changes,pg_sync_replication_slots,\
         pg_create_restore_point,pg_import_system_collations,pg_nextoid,pg_stop_making_pinned_objects,\
         pg_extension_config_dump,pg_promote,pg_file_write,pg_file_rename,pg_file_unlink,pg_file_sync,\
         pg_restore_relation_stats,pg_restore_attribute_stats,pg_clear_relation_stats,pg_clear_attribute_stats,\
         set_config,nextval,setval}"
    };
}

pub(super) use writers;

pub fn effect_of(name: &str) -> Effect {
    let lingers = !is_harmless(name);
    match name {
        "nextval" | "setval" => Effect { sequences: true, lingers, ..Effect::default() },
        _ if LOCKING.iter().any(|start| name.starts_with(start)) => {
            Effect { locks: true, lingers, ..Effect::default() }
        }
        _ if name.starts_with("binary_upgrade_") => Effect::WRITES,
        _ if writers!().trim_matches(['{', '}']).split(',').any(|known| known == name) => Effect::WRITES,
        _ => Effect { lingers, ..Effect::default() },
    }
}

/// Of the server's own functions, those that only compute or read.
pub fn is_harmless(name: &str) -> bool {
    !name.starts_with("pg_") && !name.starts_with("lo_") && !name.starts_with("binary_") && !VOLATILE.contains(&name)
}

/// How the functions begin that take advisory locks for the session, or let them go; those for the transaction have
/// `_xact` before `_lock`.
const LOCKING: [&str; 3] = ["pg_advisory_lock", "pg_try_advisory_lock", "pg_advisory_unlock"];

/// Functions of PostgreSQL 13 to 18 that are VOLATILE and are not called `pg_…` or `lo_…`, but for those that only make
/// a value (`random`, `clock_timestamp` and their kind) and for `nextval`, whose values are never given out again.
const VOLATILE: [&str; 32] = [
    "amvalidate",
    "brin_desummarize_range",
    "brin_summarize_new_values",
    "brin_summarize_range",
    "currtid2",
    "currval",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "gin_clean_pending_list",
    "lastval",
    "loread",
    "lowrite",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "set_config",
    "setseed",
    "setval",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "txid_current",
    "txid_current_if_assigned",
    "txid_status",
];

/// Settings whose change the proxy must see coming.
pub const WATCHED_SETTINGS: [&str; 7] = [
    "transaction_isolation",
    "default_transaction_isolation",
    "session_replication_role",
    "standard_conforming_strings",
    "session_authorization",
    "allow_system_table_mods",
    "row_security",
];

/// Settings on which it depends what a statement means.
pub const NAMING_SETTINGS: [&str; 5] = ["search_path", "role", "session_authorization", "client_encoding", "names"];

/// Special values that are no functions: the server tells them apart by a kind of node.
pub const SERVER_VALUES: [&str; 12] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "system_user",
    "user",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_sequence_is_told_from_what_writes() {
        assert!(effect_of("nextval").sequences && !effect_of("nextval").writes);
        assert!(effect_of("lo_create").writes && effect_of("setval_").is_none());
        assert!(effect_of("pg_logical_emit_message").writes && effect_of("set_config").writes);
        assert_eq!(effect_of("pg_notify"), Effect { lingers: true, ..Effect::default() });
        assert_eq!(effect_of("lower"), Effect::default());
        assert!(effect_of("pg_try_advisory_lock_shared").locks && !effect_of("pg_try_advisory_xact_lock").locks);
        assert!(effect_of("pg_advisory_unlock_all").locks);
    }
}
