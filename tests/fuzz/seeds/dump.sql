--
-- PostgreSQL database dump
--

\restrict 0EhqcSkGqsbxehDAB7nHa5MsaFMbXDlCWSR8LlPg2plK5oiALW9fDnhxyyD4KHH

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.f() RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 SELECT
         CASE
             WHEN true THEN 1
             ELSE 2
         END AS "case";
 SELECT 3;
END;


--
-- Name: p(); Type: PROCEDURE; Schema: public; Owner: -
--

CREATE PROCEDURE public.p()
    LANGUAGE plpgsql
    AS $$ begin commit; end $$;


SET default_tablespace = '';

--
-- Name: par; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.par (
    a integer
)
PARTITION BY RANGE (a);


SET default_table_access_method = heap;

--
-- Name: par1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.par1 (
    a integer
);


--
-- Name: z; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.z (
);


--
-- Name: TABLE z; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.z IS 'a\b''
c';


--
-- Name: 工具 表; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."工具 表" (
    id integer NOT NULL,
    "a""b" text
);


--
-- Name: par1; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.par ATTACH PARTITION public.par1 FOR VALUES FROM (0) TO (10);


--
-- Name: 16391; Type: BLOB; Schema: -; Owner: -
--

SELECT pg_catalog.lo_create('16391');


--
-- Data for Name: par1; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.par1 (a) FROM stdin;
\.


--
-- Data for Name: z; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.z  FROM stdin;

\.


--
-- Data for Name: 工具 表; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."工具 表" (id, "a""b") FROM stdin;
1	x\\y
2	\N
\.


--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('16391', 131072);
SELECT pg_catalog.lowrite(0, '\x0102');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: 工具 表 工具 表_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public."工具 表"
    ADD CONSTRAINT "工具 表_pkey" PRIMARY KEY (id);


--
-- Name: z r; Type: RULE; Schema: public; Owner: -
--

CREATE RULE r AS
    ON INSERT TO public.z DO ( SELECT 1 AS "?column?";
 SELECT 2 AS "?column?";
);


--
-- PostgreSQL database dump complete
--

\unrestrict 0EhqcSkGqsbxehDAB7nHa5MsaFMbXDlCWSR8LlPg2plK5oiALW9fDnhxyyD4KHH

