/* SPDX-License-Identifier: MIT */
/* table: what was seen, as text for people. Pure: text goes to a buffer of the caller. */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include "flow.h"
#include "owner.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table;

/** struct table_view - what the terminal is like */
struct table_view {
	unsigned columns; /* at least 80 are used */
	unsigned rows;	  /* at most that many rows of flows */
	bool bold;	  /* the heading stands out */
};

struct table *table_new(void); /* NULL on ENOMEM */
void table_free(struct table *t);
/** table_add - a flow that has ended */
void table_add(struct table *t, const struct flow_rec *f, const struct owner *o, const char *host);
/** table_print - heading, rows, "... and N more", summary; @lost: lines of the flow log */
void table_print(const struct table *t, const struct table_view *v, uint64_t lost, FILE *out);

/* for the table and for lines as it happens */

#define TABLE_NUMBER  16
#define TABLE_DEST    (FLOW_HOST_MAX + ADDRPORT_STRLEN + 8)
#define TABLE_PROGRAM 32

/** table_bytes - "512 B", "1.5 kB", "12 MB" (powers of 1000); returns @out */
const char *table_bytes(uint64_t n, char out[TABLE_NUMBER]);
/** table_time - "12 ms", "1.2 s", "3m05s", "2h04m"; returns @out */
const char *table_time(uint64_t ns, char out[TABLE_NUMBER]);
/** table_program - "curl(1234)", or "?" when it is not known; no byte can harm a terminal */
const char *table_program(const struct owner *o, char out[TABLE_PROGRAM]);
/** table_user - the name, the number, or "?" */
const char *table_user(const struct flow_rec *f, const struct owner *o, char out[TABLE_PROGRAM]);
/**
 * table_dest - "host (addr):port/proto", without a name "addr:port/proto"; of what a peer
 * opened "port 80/proto from addr"
 */
const char *table_dest(const struct flow_rec *f, const char *host, char out[TABLE_DEST]);
/** table_ended - a few words on how it ended */
const char *table_ended(const struct flow_rec *f);

#endif
