//! A factory's database: several tables, text in Japanese, bytea, large objects, sequences, and many rows.

/// What a site has, and what is hard to carry over.
const SCHEMA: &str = r#"
CREATE SCHEMA factory;
CREATE TYPE factory.state AS ENUM ('空', '使用中');
CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text, updated_at timestamptz);
INSERT INTO part_locations SELECT 'O' || i, '棚' || i % 97, to_timestamp(i) FROM generate_series(1, ROWS) i;
CREATE TABLE factory."工具 ""台帳""" (id serial PRIMARY KEY, "名;称" text, photo bytea, state factory.state DEFAULT '空');
INSERT INTO factory."工具 ""台帳""" ("名;称", photo) VALUES
  ('ドリル\n12mm', '\x00ff5c0a'), (E'改行\nタブ\tバックスラッシュ\\', NULL), (E'\\.', ''), ('', decode(repeat('5c27', 99999), 'hex'));
CREATE TABLE log (at timestamptz, line text) PARTITION BY RANGE (at);
CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO log VALUES ('2026-02-03', 'COMMIT;'), ('2026-02-04', '\! touch /tmp/x');
CREATE TABLE empty (); CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3), (4, 5);
CREATE VIEW shelves AS SELECT location_code, count(*) FROM part_locations GROUP BY 1;
CREATE SEQUENCE scans START 41; SELECT nextval('scans'), nextval('scans');
CREATE FUNCTION two() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
CREATE PROCEDURE work() LANGUAGE plpgsql AS $x$ BEGIN
COMMIT;
END $x$;
CREATE INDEX ON part_locations (location_code);
SELECT lo_from_bytea(4711, '\x00010203'), lo_from_bytea(4712, decode(repeat('ab', 300000), 'hex'));
COMMENT ON VIEW shelves IS 'It''s; \o |evil';
"#;

/// The statements that make it, with so many rows in its largest table.
pub fn schema(rows: u32) -> String {
    SCHEMA.replace("ROWS", &rows.to_string())
}

/// All that can be compared of a database.
pub const CONTENT: &str = r#"
SET search_path = public;
COPY (SELECT md5(string_agg(p::text, '|' ORDER BY order_code)), count(*) FROM part_locations p) TO STDOUT;
COPY (SELECT * FROM factory."工具 ""台帳""" ORDER BY 1) TO STDOUT;
COPY (SELECT tableoid::regclass, * FROM log ORDER BY 2) TO STDOUT;
COPY (SELECT tableoid::regclass, * FROM parent ORDER BY 2) TO STDOUT;
COPY (SELECT * FROM ONLY child ORDER BY 1) TO STDOUT;
COPY (SELECT * FROM shelves ORDER BY 1) TO STDOUT;
SELECT last_value FROM scans; SELECT last_value FROM factory."工具 ""台帳""_id_seq"; SELECT two();
SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1;
SELECT obj_description('shelves'::regclass);
SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'factory') ORDER BY 1;
SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1;
"#;
