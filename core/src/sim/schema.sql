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
