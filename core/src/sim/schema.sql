-- The database of the simulator (core/src/sim).
CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL, v int);
CREATE TABLE job (id int PRIMARY KEY, state int NOT NULL, worker int);
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child (id serial PRIMARY KEY, parent int NOT NULL REFERENCES parent ON DELETE CASCADE, v int);
CREATE TABLE ledger (id int PRIMARY KEY, who int NOT NULL);
CREATE TABLE named (id int PRIMARY KEY, code int NOT NULL UNIQUE, v int);
CREATE TABLE draw (id bigserial PRIMARY KEY, chance int);
CREATE SEQUENCE ticket;
CREATE TABLE duty (id int PRIMARY KEY, on_call int NOT NULL);
-- What changes with items, by triggers (trigger.rs).
CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL, changes int NOT NULL);
CREATE TABLE tally (id int PRIMARY KEY, n int NOT NULL, firsts int NOT NULL);
CREATE TABLE met (id int PRIMARY KEY);
CREATE FUNCTION item_touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET changes = changes + 1 WHERE id = NEW.id;
    UPDATE tally SET n = n + 1 WHERE id = NEW.v;
    BEGIN
        UPDATE tally SET firsts = firsts + 1 WHERE id = NEW.v;
        INSERT INTO met (id) VALUES (NEW.v);
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
    RETURN NULL;
END
$$;
CREATE FUNCTION item_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tally SET n = n - 1 WHERE id = OLD.v;
    DELETE FROM met WHERE id = OLD.v;
    RETURN NULL;
END
$$;
CREATE TRIGGER item_touched AFTER INSERT OR UPDATE ON item FOR EACH ROW
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION item_touched();
CREATE TRIGGER item_left AFTER DELETE ON item FOR EACH ROW
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION item_left();
-- As the proxy makes it (captured.rs).
CREATE SCHEMA lockstep;
CREATE FUNCTION lockstep.capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER lockstep_capture AFTER INSERT OR UPDATE OR DELETE ON item
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lockstep.capture();
CREATE CONSTRAINT TRIGGER lockstep_capture AFTER INSERT OR UPDATE OR DELETE ON tally
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lockstep.capture();
CREATE CONSTRAINT TRIGGER lockstep_capture AFTER INSERT OR UPDATE OR DELETE ON met
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lockstep.capture();
