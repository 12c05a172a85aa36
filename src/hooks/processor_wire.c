/* SPDX-License-Identifier: MIT */
#include "processor_wire.h"

#include <stdlib.h>
#include <string.h>

/* --- texts ------------------------------------------------------------------------------- */

/**
 * take_text - the string @s as bytes: each of its characters is one, so none is above U+00FF
 *
 * The bytes go behind those that are in @m->text already, which has room for all of the line.
 */
static int take_text(struct wire_message *m, const json_t *s, struct wire_text *out)
{
	const uint8_t *p, *end;
	uint8_t *to = m->text + m->text_len;

	if (!json_is_string(s))
		return -1;
	p = (const uint8_t *)json_string_value(s);
	end = p + json_string_length(s);
	*out = (struct wire_text){.bytes = to};
	while (p < end) {
		if (*p < 0x80) {
			*to++ = *p++;
		} else if ((*p == 0xc2 || *p == 0xc3) && end - p > 1) {
			*to++ = (uint8_t)(*p << 6 | (p[1] & 0x3f));
			p += 2;
		} else {
			return -1;
		}
	}
	out->len = (size_t)(to - out->bytes);
	m->text_len += out->len;
	return 0;
}

static int take_number(const json_t *j, uint64_t *out)
{
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return -1;
	*out = (uint64_t)json_integer_value(j);
	return 0;
}

static int take_size(const json_t *j, size_t *out)
{
	uint64_t n;

	if (take_number(j, &n) || n > SIZE_MAX / 4)
		return -1;
	*out = n;
	return 0;
}

static int take_dir(const json_t *j, enum weir_dir *out)
{
	const char *text = json_string_value(j);

	if (!text || (strcmp(text, "up") != 0 && strcmp(text, "down") != 0))
		return -1;
	*out = *text == 'u' ? WEIR_UP : WEIR_DOWN;
	return 0;
}

/* --- one function a key: 0, or -1: it is not what it must be ---------------------------------- */

static int key_id(struct wire_message *m, const json_t *j)
{
	m->has_id = take_number(j, &m->id) == 0;
	return m->has_id ? 0 : -1;
}

static int key_flow(struct wire_message *m, const json_t *j)
{
	m->has_flow = take_number(j, &m->flow) == 0;
	return m->has_flow ? 0 : -1;
}

static int key_verdict(struct wire_message *m, const json_t *j)
{
	static const char *const names[] = {"pass", "block", "drop", "hold", "replace"};
	const char *text = json_string_value(j);

	for (size_t i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(text, names[i])) {
			m->verdict = (enum wire_verdict)(WIRE_PASS + i);
			return 0;
		}
	}
	return -1;
}

static int key_accept(struct wire_message *m, const json_t *j)
{
	m->has_accept = true;
	return take_number(j, &m->accept);
}

/** key_replace - [[OFF, LEN, "text"], ...] */
static int key_replace(struct wire_message *m, const json_t *j)
{
	size_t n = json_array_size(j), from = 0;

	if (!json_is_array(j) || n > WIRE_EDITS_MAX)
		return -1;
	m->edits = calloc(n + 1, sizeof(*m->edits));
	if (!m->edits)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const json_t *e = json_array_get(j, i);
		struct wire_edit *edit = &m->edits[i];

		if (json_array_size(e) != 3 || take_size(json_array_get(e, 0), &edit->off) ||
		    take_size(json_array_get(e, 1), &edit->len) ||
		    take_text(m, json_array_get(e, 2), &edit->text) || edit->off < from)
			return -1;
		from = edit->off + edit->len;
	}
	m->n_edits = n;
	return 0;
}

/** key_inject - [["down", "text"], ...], or "down" where the bytes are those behind the line */
static int key_inject(struct wire_message *m, const json_t *j)
{
	size_t n = json_is_string(j) ? 1 : json_array_size(j);

	if (!n || n > WIRE_EDITS_MAX)
		return -1;
	m->injects = calloc(n, sizeof(*m->injects));
	if (!m->injects)
		return -1;
	m->n_injects = n;
	if (json_is_string(j)) {
		m->inject_body = true;
		return take_dir(j, &m->injects[0].dir);
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *e = json_array_get(j, i);

		if (json_array_size(e) != 2 || take_dir(json_array_get(e, 0), &m->injects[i].dir) ||
		    take_text(m, json_array_get(e, 1), &m->injects[i].text))
			return -1;
	}
	return 0;
}

static int key_data(struct wire_message *m, const json_t *j)
{
	m->has_data = true;
	return take_text(m, j, &m->data);
}

/** key_close - "up", or ["up", "down"] */
static int key_close(struct wire_message *m, const json_t *j)
{
	enum weir_dir dir;

	if (json_is_string(j)) {
		if (take_dir(j, &dir))
			return -1;
		m->close[dir] = true;
		return 0;
	}
	for (size_t i = 0; i < json_array_size(j); i++) {
		if (take_dir(json_array_get(j, i), &dir))
			return -1;
		m->close[dir] = true;
	}
	return json_is_array(j) ? 0 : -1;
}

static int key_done(struct wire_message *m, const json_t *j)
{
	m->done = json_is_true(j);
	return json_is_boolean(j) ? 0 : -1;
}

static int key_learn_done(struct wire_message *m, const json_t *j)
{
	m->learn_done = json_is_true(j);
	return json_is_boolean(j) ? 0 : -1;
}

static int key_len(struct wire_message *m, const json_t *j)
{
	uint64_t n;

	if (take_number(j, &n) || n > WIRE_BODY_MAX)
		return -1;
	m->body = n;
	return 0;
}

static int key_tag(struct wire_message *m, const json_t *j)
{
	(void)m;
	return json_is_string(j) ? 0 : -1;
}

/** key_log - "text", or ["warn", "text"] */
static int key_log(struct wire_message *m, const json_t *j)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	const char *level = json_string_value(json_array_get(j, 0));

	m->log_level = WEIR_LOG_INFO;
	if (json_is_string(j))
		return 0;
	if (json_array_size(j) != 2 || !level || !json_is_string(json_array_get(j, 1)))
		return -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(level, names[i])) {
			m->log_level = (enum weir_log)i;
			return 0;
		}
	}
	return -1;
}

/** key_learn - {"app": "smtp", "alpn": null} */
static int key_learn(struct wire_message *m, const json_t *j)
{
	const char *key;
	json_t *value;

	(void)m;
	json_object_foreach((json_t *)(uintptr_t)j, key,
			    value) if (!json_is_string(value) && !json_is_null(value)) return -1;
	return json_is_object(j) ? 0 : -1;
}

/** key_event - ["type", {...}] */
static int key_event(struct wire_message *m, const json_t *j)
{
	(void)m;
	return json_array_size(j) == 2 && json_is_string(json_array_get(j, 0)) &&
			       json_is_object(json_array_get(j, 1))
		       ? 0
		       : -1;
}

static const struct {
	const char *name;
	int (*take)(struct wire_message *m, const json_t *j);
	const char *wrong;
} keys[] = {
	{"id", key_id, "id: wants a number"},
	{"flow", key_flow, "flow: wants a number"},
	{"verdict", key_verdict, "verdict: wants pass, block, drop, hold or replace"},
	{"accept", key_accept, "accept: wants a number of bytes"},
	{"replace", key_replace, "replace: wants [[OFF, LEN, \"text\"], ...], upwards"},
	{"data", key_data, "data: wants a text of characters up to U+00FF"},
	{"inject", key_inject, "inject: wants [[\"up\" or \"down\", \"text\"], ...]"},
	{"close", key_close, "close: wants \"up\", \"down\" or a list of both"},
	{"done", key_done, "done: wants true or false"},
	{"learn_done", key_learn_done, "learn_done: wants true or false"},
	{"len", key_len, "len: wants a number of bytes, up to 1 MiB"},
	{"tag", key_tag, "tag: wants a text"},
	{"log", key_log, "log: wants a text, or [\"warn\", \"text\"]"},
	{"learn", key_learn, "learn: wants {FIELD: \"value\" or null}"},
	{"event", key_event, "event: wants [\"type\", {...}]"},
};

static const char *take_keys(struct wire_message *m)
{
	const char *err = NULL, *key;
	json_t *value;

	json_object_foreach(m->json, key, value)
	{
		size_t i = 0;

		while (i < sizeof(keys) / sizeof(keys[0]) && strcmp(keys[i].name, key) != 0)
			i++;
		if (i == sizeof(keys) / sizeof(keys[0]))
			err = err ? err : "a key that there is not";
		else if (keys[i].take(m, value))
			err = err ? err : keys[i].wrong;
	}
	return err;
}

/** check_whole - do the keys go together? */
static const char *check_whole(const struct wire_message *m, bool raw)
{
	bool has_len = json_object_get(m->json, "len") != NULL;

	if (m->has_id == m->has_flow)
		return "wants id (an answer), or flow (unasked)";
	if (m->has_id && m->verdict == WIRE_NONE)
		return "an answer wants a verdict";
	if (m->has_flow && m->verdict != WIRE_NONE && m->verdict != WIRE_BLOCK)
		return "unasked, the only verdict is block";
	if (m->has_accept && m->verdict != WIRE_PASS)
		return "accept goes with the verdict pass";
	if (m->n_edits && m->verdict != WIRE_PASS)
		return "replace goes with the verdict pass";
	if (has_len && !raw)
		return "len goes with format=raw";
	if (m->has_data && (m->verdict != WIRE_REPLACE || has_len))
		return "data goes with the verdict replace, without len";
	if (m->verdict == WIRE_REPLACE && m->has_data == has_len)
		return "the verdict replace wants data or len";
	if (m->inject_body != (has_len && m->verdict != WIRE_REPLACE))
		return "len goes with the verdict replace, or with inject of one direction";
	return NULL;
}

int wire_parse(const char *line, size_t len, bool raw, struct wire_message **out, const char **err)
{
	struct wire_message *m = calloc(1, sizeof(*m));
	json_error_t why;

	*out = NULL;
	*err = "out of memory";
	if (!m)
		return -1;
	m->text = malloc(len + 1);
	m->json = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
	if (!m->text || !json_is_object(m->json)) {
		if (m->text)
			*err = "not a JSON object";
		wire_free(m);
		return -1;
	}
	*err = take_keys(m);
	if (!*err)
		*err = check_whole(m, raw);
	/* What is wrong with an answer is that request's. Without id, or with bytes of unknown
	 * number behind it, nothing that follows can be trusted. */
	if (*err && (!m->has_id || json_object_get(m->json, "len"))) {
		wire_free(m);
		return -1;
	}
	*out = m;
	return *err ? -1 : 0;
}

int wire_set_body(struct wire_message *m, const uint8_t *bytes)
{
	m->body_text = malloc(m->body + 1);
	if (!m->body_text)
		return -1;
	memcpy(m->body_text, bytes, m->body);
	*(m->inject_body ? &m->injects[0].text : &m->data) =
		(struct wire_text){m->body_text, m->body};
	return 0;
}

void wire_free(struct wire_message *m)
{
	if (!m)
		return;
	free(m->edits);
	free(m->injects);
	free(m->text);
	free(m->body_text);
	json_decref(m->json);
	free(m);
}
