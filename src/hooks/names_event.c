/* SPDX-License-Identifier: MIT */
#include "names_event.h"

#include <stdarg.h>
#include <stdio.h>

#define ALPN_MAX 16 /* protocols shown */
#define BYTE_MAX 6  /* \u00xx */
#define WORD_MAX 2  /* of a name that was checked: only quotes and backslashes are escaped */

struct text {
	char *at;
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	t->n += (size_t)vsnprintf(t->at + t->n, NAMES_EVENT_SIZE - t->n, format, ap);
	va_end(ap);
}

/* add_string - bytes that may be anything: what is not ASCII is read as Latin-1 */
static void add_string(struct text *t, const void *data, size_t len)
{
	const uint8_t *b = data;

	t->at[t->n++] = '"';
	for (size_t i = 0; i < len; i++) {
		if (b[i] == '"' || b[i] == '\\')
			t->at[t->n++] = '\\';
		if (b[i] < ' ' || b[i] >= 0x7f)
			add(t, "\\u%04x", b[i]);
		else
			t->at[t->n++] = (char)b[i];
	}
	t->at[t->n++] = '"';
	t->at[t->n] = '\0';
}

_Static_assert(BYTE_MAX *NAMES_URL_MAX + NAMES_HTTP_METHOD_MAX + WORD_MAX * NAMES_HTTP_HOST_MAX +
			       200 <
		       NAMES_EVENT_SIZE,
	       "an exchange fits always");
_Static_assert(NAMES_EVENT_SIZE / 2 + WORD_MAX * (255 + NAMES_SNI_MAX) + 300 < NAMES_EVENT_SIZE,
	       "a hello fits always");

void names_event_http(const struct names_exchange *x, char *out)
{
	struct text t = {out, 0};

	add(&t, "{\"http_method\":");
	add_string(&t, x->method, strlen(x->method));
	if (x->host[0]) {
		add(&t, ",\"hostname\":");
		add_string(&t, x->host, strlen(x->host));
	}
	add(&t, ",\"url\":");
	add_string(&t, x->url, x->url_len);
	add(&t, ",\"protocol\":\"HTTP/1.%u\"", x->minor);
	if (x->status)
		add(&t, ",\"status\":%u,\"length\":%llu", x->status, (unsigned long long)x->length);
	add(&t, "}");
}

static const char *version_text(uint16_t version)
{
	static const char *const names[] = {"SSLv3", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"};

	return version >= 0x300 && version <= 0x304 ? names[version - 0x300] : "unknown";
}

static void add_alpn(struct text *t, struct names_view list)
{
	char name[256];

	add(t, ",\"client_alpns\":[");
	for (unsigned i = 0; i < ALPN_MAX && t->n < NAMES_EVENT_SIZE / 2; i++) {
		if (!names_hello_alpn(&list, name))
			break;
		if (i)
			add(t, ",");
		add_string(t, name, strlen(name));
	}
	add(t, "]");
}

void names_event_tls(const struct names_hello *h, const char *ja3, const char *ja4, char *out)
{
	struct text t = {out, 0};

	add(&t, "{\"offered_version\":\"%s\"", version_text(h->version));
	if (h->sni[0]) {
		add(&t, ",\"sni\":");
		add_string(&t, h->sni, strlen(h->sni));
	}
	if (h->alpn.len)
		add_alpn(&t, h->alpn);
	if (*ja3)
		add(&t, ",\"ja3\":{\"hash\":\"%s\"}", ja3);
	if (*ja4)
		add(&t, ",\"ja4\":\"%s\"", ja4);
	if (h->ech)
		add(&t, ",\"ech\":true");
	add(&t, "}");
}
