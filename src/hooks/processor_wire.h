/* SPDX-License-Identifier: MIT */
/*
 * processor_wire: what a processor says, line by line, without a connection: see
 * docs/weir-processor.7.scd. Everything in it may be hostile.
 */
#ifndef WEIR_HOOKS_PROCESSOR_WIRE_H
#define WEIR_HOOKS_PROCESSOR_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/hook.h"

#define WIRE_LINE_MAX  (2u << 20) /* 256 KiB of payload with every byte as \u00xx, and more */
#define WIRE_BODY_MAX  (1u << 20) /* raw bytes behind a line */
#define WIRE_EDITS_MAX 4096

enum wire_verdict {
	WIRE_NONE, /* says nothing of it: not an answer */
	WIRE_PASS,
	WIRE_BLOCK,
	WIRE_DROP,
	WIRE_HOLD,
	WIRE_REPLACE,
};

/** struct wire_text - bytes; they lie in the message's own memory */
struct wire_text {
	const uint8_t *bytes;
	size_t len;
};

struct wire_edit {
	size_t off, len;
	struct wire_text text;
};

struct wire_inject {
	enum weir_dir dir;
	struct wire_text text;
};

/** struct wire_message - one line, checked as far as it can be without knowing what it answers */
struct wire_message {
	bool has_id, has_flow; /* one of them */
	uint64_t id, flow;
	enum wire_verdict verdict;
	bool has_accept;
	uint64_t accept;
	size_t n_edits, n_injects;
	struct wire_edit *edits;     /* owned; upwards, without overlap */
	struct wire_inject *injects; /* owned */
	bool has_data;
	struct wire_text data; /* of WIRE_REPLACE */
	bool close[2], done, learn_done;
	enum weir_log log_level;
	size_t body; /* so many raw bytes follow the line */

	json_t *json;  /* owned; tag, learn, event and log are read from it when they are due */
	uint8_t *text; /* owned; where decoded texts lie */
	size_t text_len;
	uint8_t *body_text; /* owned; the body */
	bool inject_body;   /* it is to be injected, as the first of @injects */
};

/**
 * wire_parse - @line without its newline
 *
 * 0 with *@out to be freed; -1 with a reason in *@err: with *@out only if the line names a request
 * that it answers badly, without if it is not a message at all.
 * @raw: raw bytes may follow lines.
 */
int wire_parse(const char *line, size_t len, bool raw, struct wire_message **out, const char **err);
/** wire_set_body - the bytes that followed; @m->body of them */
int wire_set_body(struct wire_message *m, const uint8_t *bytes);
void wire_free(struct wire_message *m);

#endif
