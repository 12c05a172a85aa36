/* SPDX-License-Identifier: MIT */
#include "names_app.h"

#include "names_http.h"
#include "names_tls.h"

#define DNS_HEADER     12
#define DNS_LABEL_MAX  63
#define DNS_NAME_MAX   255
#define DNS_STREAM_MAX 0x01ff /* of a query with its length in front: first byte 0 or 1 */
#define STUN_HEADER    20
#define STUN_COOKIE    0x2112a442u

/* --- DNS ------------------------------------------------------------------------------------ */

/* is_dns_header - of a query: QR, opcode, AA, TC, RA, Z and rcode are 0, one question, no answer */
static bool is_dns_header(const uint8_t *h)
{
	return !(h[2] & 0xfe) && !(h[3] & 0xcf) && h[4] == 0 && h[5] == 1 && h[6] == 0 &&
	       h[7] == 0 && h[8] == 0 && h[9] == 0 && h[10] == 0 && h[11] <= 2;
}

static bool is_dns_query(const uint8_t *data, size_t len)
{
	struct names_view v = {data, len}, skipped;
	uint32_t label, type, class;
	size_t name = 0;

	if (len < DNS_HEADER || !is_dns_header(data))
		return false;
	names_take(&v, DNS_HEADER, &skipped);
	do {
		if (!names_take_number(&v, 1, &label) || label > DNS_LABEL_MAX ||
		    !names_take(&v, label, &skipped))
			return false;
		name += label + 1;
	} while (label && name <= DNS_NAME_MAX);
	return name <= DNS_NAME_MAX && names_take_number(&v, 2, &type) && type &&
	       names_take_number(&v, 2, &class) && (class == 1 || class == 255) &&
	       (v.len == 0 || data[11]);
}

/* is_dns_stream - the same with its length in front, as far as the header tells */
static enum names_step is_dns_stream(const uint8_t *data, size_t len)
{
	if (len && data[0] > DNS_STREAM_MAX >> 8)
		return NAMES_NOT;
	if (len < 2 + DNS_HEADER)
		return NAMES_MORE;
	return is_dns_header(data + 2) ? NAMES_FOUND : NAMES_NOT;
}

/* --- others ----------------------------------------------------------------------------------- */

static enum names_step ssh_start(const uint8_t *data, size_t len)
{
	static const char start[] = "SSH-2.0-";
	size_t n = len < sizeof(start) - 1 ? len : sizeof(start) - 1;

	if (memcmp(data, start, n) != 0)
		return NAMES_NOT;
	return n == sizeof(start) - 1 ? NAMES_FOUND : NAMES_MORE;
}

static bool stun_request(const uint8_t *data, size_t len)
{
	struct names_view v = {data, len};
	uint32_t type, size, cookie;

	return len >= STUN_HEADER && names_take_number(&v, 2, &type) && !(type & 0xc000) &&
	       names_take_number(&v, 2, &size) && size % 4 == 0 && size + STUN_HEADER == len &&
	       names_take_number(&v, 4, &cookie) && cookie == STUN_COOKIE;
}

enum names_step names_app_stream(const uint8_t *data, size_t len, const char **app)
{
	static const struct {
		const char *app;
		enum names_step (*start)(const uint8_t *data, size_t len);
	} kinds[] = {
		{"tls", names_tls_start},
		{"http2", names_http2_start},
		{"ssh", ssh_start},
		{"dns", is_dns_stream},
	};
	enum names_step all = NAMES_NOT;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		switch (kinds[i].start(data, len)) {
		case NAMES_FOUND:
			*app = kinds[i].app;
			return NAMES_FOUND;
		case NAMES_MORE:
			all = NAMES_MORE;
			break;
		case NAMES_NOT:
			break;
		}
	return all;
}

/* has_word - in the first line, in any case */
static bool has_word(const uint8_t *data, size_t len, const char *word)
{
	const uint8_t *lf = memchr(data, '\n', len);
	size_t n = strlen(word), end = lf ? (size_t)(lf - data) : len, i, k;

	for (i = 0; i + n <= end; i++) {
		for (k = 0; k < n && (data[i + k] & 0xdf) == (uint8_t)word[k]; k++)
			;
		if (k == n)
			return true;
	}
	return false;
}

const char *names_app_banner(const uint8_t *data, size_t len)
{
	if (ssh_start(data, len) == NAMES_FOUND)
		return "ssh";
	if (len > 4 && !memcmp(data, "220", 3) && (data[3] == ' ' || data[3] == '-') &&
	    has_word(data, len, "SMTP"))
		return "smtp";
	return NULL;
}

const char *names_app_datagram(const uint8_t *data, size_t len)
{
	if (is_dns_query(data, len))
		return "dns";
	return stun_request(data, len) ? "stun" : NULL;
}
