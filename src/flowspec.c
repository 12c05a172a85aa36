/* SPDX-License-Identifier: MIT */
/*
 * A value is read by the filter language itself: FIELD == VALUE is compiled, and asked which value
 * it requires. So whatever can be written in a rule can be written here.
 */
#include "flowspec.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define WORD_MAX_LEN 4096
#define TEXT_SHOWN   60

/** struct spec_field - what was said of a field; @expr owns what @value borrows */
struct spec_field {
	enum expr_known known;
	bool given;
	unsigned n;
	struct expr_value value[FLOWSPEC_LIST_MAX];
	struct expr *expr[FLOWSPEC_LIST_MAX];
};

struct flowspec {
	struct spec_field field[EXPR_FIELD_MAX];
};

/** struct taking - where errors go, and who knows names */
struct taking {
	struct flowspec *f;
	const struct policy_source *names;
	char *err;
	size_t errsize;
};

__attribute__((format(printf, 4, 5))) static int fail(const struct taking *t, const char *word,
						      size_t len, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(t->err, t->errsize, "--flow: %.*s: ", (int)MIN(len, (size_t)TEXT_SHOWN),
			 word);

	va_start(ap, fmt);
	if (n > 0 && (size_t)n < t->errsize)
		vsnprintf(t->err + n, t->errsize - (size_t)n, fmt, ap);
	va_end(ap);
	for (char *p = t->err; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return -EINVAL;
}

/* --- one value ---------------------------------------------------------------------------------
 */

/** struct required - what a comparison allows */
struct required {
	struct expr_value value;
	unsigned n;
};

static void note_required(void *ctx, const struct expr_value *v, int prefix_bits)
{
	struct required *r = ctx;

	r->value = *v;
	r->n++;
	if (prefix_bits >= 0 && prefix_bits < (addr_is_v4(&v->addr) ? 32 : 128))
		r->n++; /* more than one address */
}

static int user_of(void *ctx, const char *name, uint32_t *uid)
{
	const struct taking *t = ctx;

	return t->names->user(t->names->ctx, name, uid);
}

static int group_of(void *ctx, const char *name, uint32_t *gid)
{
	const struct taking *t = ctx;

	return t->names->group(t->names->ctx, name, gid);
}

static bool is_text(enum expr_field f)
{
	return expr_field_type(f) == EXPR_TEXT || expr_field_type(f) == EXPR_HOSTNAME;
}

/** comparison - "FIELD == VALUE", texts in quotes; malloc'd */
static char *comparison(enum expr_field f, const char *value, size_t len)
{
	const char *name = expr_field_name(f), *quote = is_text(f) ? "\"" : "";
	char *out = malloc(strlen(name) + 2 * len + 16), *p = out;

	if (!out)
		return NULL;
	p += sprintf(p, "%s == %s", name, quote);
	for (size_t i = 0; i < len; i++) {
		if (*quote && (value[i] == '"' || value[i] == '\\'))
			*p++ = '\\';
		*p++ = value[i];
	}
	if (*quote)
		*p++ = '"';
	*p = 0;
	return out;
}

static int take_value(struct taking *t, enum expr_field f, const char *value, size_t len)
{
	const struct expr_context c = {.user = user_of, .group = group_of, .ctx = t};
	struct spec_field *s = &t->f->field[f];
	struct required r = {.n = 0};
	struct expr_error e = {0};
	enum expr_field same;
	char *text;
	int rc;

	if (s->n == FLOWSPEC_LIST_MAX)
		return fail(t, value, len, "at most %d values", FLOWSPEC_LIST_MAX);
	text = comparison(f, value, len);
	rc = text ? expr_compile(&c, text, strlen(text), &s->expr[s->n], &e) : -ENOMEM;
	free(text);
	if (rc)
		return rc == -EINVAL ? fail(t, value, len, "%s", e.text) : rc;
	s->n++;
	if (!expr_required(s->expr[s->n - 1], 0, &same, note_required, &r) || r.n != 1 ||
	    expr_required(s->expr[s->n - 1], 1, &same, NULL, NULL))
		return fail(t, value, len, "one value is wanted");
	s->value[s->n - 1] = r.value;
	s->known = EXPR_KNOWN;
	return 0;
}

/** take_field - a value, several of a list, or "-": there is none */
static int take_field(struct taking *t, enum expr_field f, const char *value, size_t len)
{
	struct spec_field *s = &t->f->field[f];
	const bool list = expr_field_is_list(f);
	int rc = 0;

	if (s->given)
		return fail(t, value, len, "%s is given twice", expr_field_name(f));
	s->given = true;
	if (len == 1 && *value == '-') {
		s->known = EXPR_ABSENT;
		return 0;
	}
	for (const char *p = value, *end = value + len; !rc && p <= end;) {
		const char *comma = list ? memchr(p, ',', (size_t)(end - p)) : NULL;

		comma = comma ? comma : end;
		rc = take_value(t, f, p, (size_t)(comma - p));
		p = comma + 1;
	}
	return rc;
}

/* --- words -------------------------------------------------------------------------------------
 */

/** take_endpoint - IP, IP:PORT or [IP]:PORT; an address with two colons and no brackets has no port
 */
static int take_endpoint(struct taking *t, enum expr_field ip, enum expr_field port,
			 const char *value, size_t len)
{
	const char *end = value + len, *colon = memrchr(value, ':', len);
	bool brackets = len && *value == '[';
	int rc;

	if (colon &&
	    ((brackets && colon[-1] != ']') || (!brackets && memchr(value, ':', len) != colon)))
		colon = NULL;
	if (colon) {
		rc = take_field(t, port, colon + 1, (size_t)(end - colon - 1));
		if (rc)
			return rc;
		end = colon;
	}
	if (brackets && end > value + 1 && end[-1] == ']')
		return take_field(t, ip, value + 1, (size_t)(end - value - 2));
	return take_field(t, ip, value, (size_t)(end - value));
}

static int take_word(struct taking *t, const char *word, size_t len)
{
	const char *equals = memchr(word, '=', len), *value;
	enum expr_field f;
	size_t name, n;

	if (!equals)
		return fail(t, word, len, "FIELD=VALUE is wanted");
	name = (size_t)(equals - word);
	value = equals + 1;
	n = len - name - 1;
	if (name == 3 && !memcmp(word, "dst", 3))
		return take_endpoint(t, EXPR_F_DST_IP, EXPR_F_DST_PORT, value, n);
	if (name == 3 && !memcmp(word, "src", 3))
		return take_endpoint(t, EXPR_F_SRC_IP, EXPR_F_SRC_PORT, value, n);
	f = expr_field_find(word, name);
	if (f == EXPR_FIELD_MAX)
		return fail(t, word, len, "there is no such field");
	if (f == EXPR_F_TAG)
		return fail(t, word, len, "tags come from the rules");
	if (expr_field_is_packet(f))
		return fail(t, word, len, "packets have this, flows do not");
	return take_field(t, f, value, n);
}

/** next_word - copied to @out without quotes; behind it, or NULL: a quote is not closed, or too
 * long */
static const char *next_word(const char *p, char *out, size_t *len)
{
	bool quoted = false;

	for (*len = 0; *p && (quoted || !strchr(" \t\r\n", *p)); p++) {
		if (*p == '"') {
			quoted = !quoted;
			continue;
		}
		if (quoted && *p == '\\' && (p[1] == '"' || p[1] == '\\'))
			p++;
		if (*len == WORD_MAX_LEN)
			return NULL;
		out[(*len)++] = *p;
	}
	return quoted ? NULL : p;
}

static int take_words(struct taking *t, const char *text)
{
	char *word = malloc(WORD_MAX_LEN);
	int rc = word ? 0 : -ENOMEM;

	while (!rc) {
		const char *start = text + strspn(text, " \t\r\n");
		size_t len;

		if (!*start)
			break;
		text = next_word(start, word, &len);
		if (!text) {
			rc = fail(t, start, strlen(start),
				  "a quote is not closed, or too much text");
			break;
		}
		rc = take_word(t, word, len);
	}
	free(word);
	return rc;
}

/* --- what follows from it -------------------------------------------------------------------- */

static void copy_field(struct flowspec *f, enum expr_field to, enum expr_field from)
{
	struct spec_field *s = &f->field[to], *o = &f->field[from];

	if (s->given || !o->given)
		return;
	s->known = o->known;
	s->n = MIN(o->n, 1U);
	s->value[0] = o->value[0];
}

static void set_number(struct flowspec *f, enum expr_field field, uint64_t number)
{
	struct spec_field *s = &f->field[field];

	if (s->given)
		return;
	s->known = EXPR_KNOWN;
	s->n = 1;
	s->value[0].num = number;
}

static void set_version(struct flowspec *f, enum expr_field from)
{
	const struct spec_field *o = &f->field[from];

	if (o->known == EXPR_KNOWN)
		set_number(f, EXPR_F_IP_VERSION, addr_is_v4(&o->value[0].addr) ? 4 : 6);
}

/** set_host - the best name; none, when it is said that there is no other */
static void set_host(struct flowspec *f)
{
	static const enum expr_field names[] = {EXPR_F_HTTP_HOST, EXPR_F_SNI, EXPR_F_DNS_NAME};
	unsigned absent = 0;

	if (f->field[EXPR_F_HOST].given)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (f->field[names[i]].known == EXPR_KNOWN) {
			copy_field(f, EXPR_F_HOST, names[i]);
			return;
		}
		absent += f->field[names[i]].known == EXPR_ABSENT;
	}
	if (absent == ARRAY_SIZE(names))
		f->field[EXPR_F_HOST].known = EXPR_ABSENT;
}

static void conclude(struct flowspec *f)
{
	copy_field(f, EXPR_F_USER, EXPR_F_UID);
	copy_field(f, EXPR_F_UID, EXPR_F_USER);
	set_version(f, EXPR_F_SRC_IP);
	set_version(f, EXPR_F_DST_IP);
	set_host(f);
	set_number(f, EXPR_F_DIR, EXPR_DIR_OUT);
	set_number(f, EXPR_F_BYTES_UP, 0);
	set_number(f, EXPR_F_BYTES_DOWN, 0);
	set_number(f, EXPR_F_DURATION, 0);
}

int flowspec_new(const char *text, const struct policy_source *names, struct flowspec **out,
		 char *err, size_t errsize)
{
	struct flowspec *f = calloc(1, sizeof(*f));
	struct taking t = {f, names, err, errsize};
	int rc;

	if (!f)
		return -ENOMEM;
	for (unsigned i = 0; i < EXPR_FIELD_MAX; i++)
		f->field[i].known = EXPR_NOT_YET;
	rc = take_words(&t, text);
	if (rc) {
		flowspec_free(f);
		return rc;
	}
	conclude(f);
	*out = f;
	return 0;
}

void flowspec_free(struct flowspec *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < EXPR_FIELD_MAX; i++)
		for (unsigned k = 0; k < FLOWSPEC_LIST_MAX; k++)
			expr_free(f->field[i].expr[k]);
	free(f);
}

enum expr_known flowspec_get(const void *subject, enum expr_field field, unsigned i,
			     struct expr_value *out)
{
	const struct spec_field *s = &((const struct flowspec *)subject)->field[field];

	if (s->known != EXPR_KNOWN)
		return s->known;
	if (i >= s->n)
		return EXPR_ABSENT;
	*out = s->value[i];
	return EXPR_KNOWN;
}
