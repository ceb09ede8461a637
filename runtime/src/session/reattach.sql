DO LANGUAGE plpgsql $lockstep$
DECLARE
    parent oid := current_setting('lockstep.parent')::regclass;
    part oid := current_setting('lockstep.partition')::regclass;
    mark xid;
    made oid[];
BEGIN
    SELECT xmin INTO mark FROM pg_inherits WHERE inhparent = parent AND inhrelid = part AND inhdetachpending;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- The constraint, and what partitions of the partition have inherited of it, was made in the transaction that has set
    -- the mark. DROP CONSTRAINT would wait for everybody who reads the partition.
    SELECT array_agg(oid) INTO made FROM pg_constraint c
        WHERE c.xmin = mark AND contype = 'c' AND conrelid IN (SELECT relid FROM pg_partition_tree(part));
    UPDATE pg_class c SET relchecks = relchecks - 1 FROM pg_constraint made_for
        WHERE made_for.oid = ANY (made) AND c.oid = conrelid;
    DELETE FROM pg_depend WHERE classid = 'pg_constraint'::regclass AND objid = ANY (made);
    DELETE FROM pg_constraint WHERE oid = ANY (made);
    UPDATE pg_inherits SET inhdetachpending = false WHERE inhparent = parent AND inhrelid = part;
    -- So that every session reads anew of what the table consists.
    UPDATE pg_class SET relname = relname WHERE oid IN (parent, part);
END $lockstep$
