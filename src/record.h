/* SPDX-License-Identifier: MIT */
/*
 * record: what was seen, for people and for machines. Runs in the supervisor,
 * the one writer: the flow log (one JSON object a line, names of Suricata's
 * EVE format where it has them, ours under "weir"), the table at the end, the
 * lines of --live.
 */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

#include "flow.h"
#include "learnt.h"
#include "owner.h"

struct record;

/**
 * struct record_more - what is known of a flow beside its record
 * @learnt: NULL: nothing
 * @rule: what decided: "FILE:LINE", "decision N"; NULL: nobody had to
 */
struct record_more {
	const struct learnt *learnt;
	const char *rule;
};

struct record_config {
	const char *log; /* FILE, fd:N, "-" = stderr, NULL = none */
	bool table, live;
	int out_fd; /* for table and live lines: stderr */
};

/** record_new - opens the log; 0, or -errno with *@err naming file or option */
int record_new(const struct record_config *cfg, struct record **out, char *err, size_t errsize);
/**
 * record_reopen - the log is a file: open its name again (it may have been moved away)
 *
 * 0, or -errno with a line in @err: the one that is open stays.
 */
int record_reopen(struct record *r, char *err, size_t errsize);
/** record_log_fd - so that COMMAND does not inherit it (it is close-on-exec anyway); -1 = none */
int record_log_fd(const struct record *r);
void record_open(struct record *r, const struct flow_rec *f, const struct owner *o,
		 const char *host);
/** record_end - write the line, add to the table; never blocks, loses and counts instead */
void record_end(struct record *r, const struct flow_rec *f, const struct owner *o, const char *host,
		const struct record_more *more);
/** record_line - a line of JSON of another event_type, which the caller has made */
void record_line(struct record *r, const char *line);
/**
 * struct record_listen - somebody listens, or the last one at this address does not any more
 * @uid: the socket's; @inode: 0 = not known; @why: enum owner_why, where there is no owner
 */
struct record_listen {
	struct addrport at;
	uint8_t proto;
	bool listens;
	uint32_t uid, inode, why;
};

/** record_listen - a line of event_type "listen" */
void record_listen(struct record *r, const struct record_listen *l, const struct owner *o);
/** record_flush - try to write what had to wait; returns bytes left */
size_t record_flush(struct record *r);
/** record_finish - the end of the run: write what had to wait; returns lines of the log lost */
uint64_t record_finish(struct record *r);
/** record_table - the table of what was seen */
void record_table(struct record *r);
void record_free(struct record *r);

/**
 * record_community_id - "1:..." (Community ID 1.0, seed 0) in @out (32 bytes)
 *
 * Empty for SCTP, whose ports are part of it and not known.
 */
void record_community_id(const struct flow_rec *f, char out[32]);
/**
 * record_host - the name that says most of whom is spoken to: of the request, else of the hello,
 * else @dns_name, which may be NULL; @text: room for it
 */
const char *record_host(const struct record_more *more, const char *dns_name,
			char text[FLOW_HOST_MAX]);
/** record_json - the line without newline, malloced; NULL on ENOMEM */
char *record_json(const struct flow_rec *f, const struct owner *w, const char *host,
		  const struct record_more *more);
/**
 * record_hook_json - a record of @type, whose object @json a hook has made, with flow and owner put
 * before
 *
 * NULL: it is no JSON object, or @type is none that a hook may use (letters, digits, - and _; not
 * one of ours).
 */
char *record_hook_json(const struct flow_rec *f, const struct owner *w, const char *host,
		       const char *type, const char *json, uint64_t wall);
/** record_event_json - the same of a flow's @event: event_type "weir", weir.event */
char *record_event_json(const struct flow_rec *f, const struct owner *w, const char *host,
			const struct record_more *more, const char *event, uint64_t wall);
/** record_listen_json - the same for struct record_listen, at @wall ns since 1970 */
char *record_listen_json(const struct record_listen *l, const struct owner *w, uint64_t wall);

#endif
