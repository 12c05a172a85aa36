/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fds.h"
#include "netcfg.h"

#include "base/log.h"
#include "base/util.h"

/* RFC 5737 and RFC 3849: nobody's. */
#define INSIDE_V4 "198.51.100.1"
#define INSIDE_V6 "2001:db8:ffff::1"
#define CLIENT_S  "10"

static const char page[] =
	"HTTP/1.0 200 OK\r\n"
	"Content-Type: text/plain\r\n"
	"Connection: close\r\n"
	"\r\n"
	"Hello. This answer crossed a TUN device, a TCP/IP stack in user space and\n"
	"a real socket on its way to you; the table below says who asked for it.\n";

/* --- server ---------------------------------------------------------------------- */

/** serve_one - read up to the empty line that ends a request, then answer */
static void serve_one(int fd)
{
	char buf[2048];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(buf) - 1 && (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0) {
		len += (size_t)n;
		buf[len] = '\0';
		if (strstr(buf, "\r\n\r\n"))
			break;
	}
	if (len && send(fd, page, sizeof(page) - 1, MSG_NOSIGNAL) > 0) {
		shutdown(fd, SHUT_WR);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
	}
	close(fd);
}

static _Noreturn void serve(int fd, pid_t parent)
{
	const struct timeval patience = {.tv_sec = 5};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "weir-demo");
	if (getppid() != parent)
		_exit(1);
	for (int std = 0; std < 3; std++)
		fds_null(std);
	fds_close_except(3, &fd, 1);
	for (;;) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (c < 0)
			continue;
		setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		serve_one(c);
	}
}

/** listen_on - a free port of @loopback; the descriptor or -errno */
static int listen_on(const struct addr *loopback, uint16_t *port)
{
	struct addrport ap = {.addr = *loopback};
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&ap, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&ss, len) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&ss, &len)) {
		err = -errno;
		close(fd);
		return err;
	}
	addr_from_sockaddr((struct sockaddr *)&ss, &ap);
	*port = ap.port;
	return fd;
}

static int server_start(struct demo *d, bool v4, uint16_t *port)
{
	const pid_t parent = getpid();
	struct addr loopback;
	int fd, err = 0;

	addr_parse(v4 ? "127.0.0.1" : "::1", &loopback);
	fd = listen_on(&loopback, port);
	if (fd < 0)
		return fd;
	d->server = fork();
	if (d->server == 0)
		serve(fd, parent);
	if (d->server < 0)
		err = -errno;
	close(fd);
	return err;
}

/* --- what runs inside ------------------------------------------------------------------ */

/** find_curl - its path, or NULL */
static const char *find_curl(void)
{
	static const char *const places[] = {"/usr/bin/curl", "/usr/local/bin/curl", "/bin/curl"};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (!access(places[i], X_OK))
			return places[i];
	}
	return NULL;
}

/** set_command - curl, or where there is none this very program as a client */
static void set_command(struct demo *d, struct config *cfg, const char *inside)
{
	static char options[][16] = {"-sS", "--noproxy", "*", "--max-time", CLIENT_S};
	static char verb[] = "demo-client";
	const char *curl = find_curl();
	size_t n = 0;
	ssize_t len;

	if (curl) {
		str_copy(d->program, sizeof(d->program), curl);
		d->argv[n++] = d->program;
		for (size_t i = 0; i < ARRAY_SIZE(options); i++)
			d->argv[n++] = options[i];
		d->argv[n++] = d->url;
	} else {
		len = readlink("/proc/self/exe", d->program, sizeof(d->program) - 1);
		d->program[len > 0 ? len : 0] = '\0';
		str_copy(d->address, sizeof(d->address), inside);
		d->argv[n++] = d->program;
		d->argv[n++] = verb;
		d->argv[n++] = d->address;
		d->argv[n++] = d->port;
	}
	cfg->command = d->argv;
}

/** host_has_v4 - also true where there is no default route at all: then both are made up */
static bool host_has_v4(void)
{
	struct netcfg_host h = {0};
	struct netcfg *nc;

	if (!netcfg_open(&nc))
		netcfg_read_host(nc, &h);
	netcfg_close(nc);
	return h.v4.present || !h.v6.present;
}

int demo_start(struct demo *d, struct config *cfg)
{
	const bool v4 = host_has_v4();
	struct addr *mapped = v4 ? &cfg->host_loopback4 : &cfg->host_loopback6;
	char inside[ADDR_STRLEN];
	uint16_t port = 0;
	int r;

	*d = (struct demo){0};
	r = server_start(d, v4, &port);
	if (r)
		return r;
	if (addr_is_unspecified(mapped))
		addr_parse(v4 ? INSIDE_V4 : INSIDE_V6, mapped);
	addr_format(mapped, inside);
	snprintf(d->port, sizeof(d->port), "%u", port);
	snprintf(d->url, sizeof(d->url), v4 ? "http://%s:%u/" : "http://[%s]:%u/", inside, port);
	set_command(d, cfg, inside);
	log_note("no COMMAND given: a demo. A web server of weir's own listens on this host's "
		 "loopback, port %u;",
		 port);
	log_note("inside, %s means this loopback. Running \"%s\" in a private network namespace:",
		 inside, find_curl() ? "curl" : "weir demo-client");
	return 0;
}

void demo_stop(struct demo *d)
{
	if (d->server <= 0)
		return;
	kill(d->server, SIGKILL);
	waitpid(d->server, NULL, 0);
	d->server = 0;
}

/* --- client -------------------------------------------------------------------------------- */

static int fetch(const struct addrport *to)
{
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	const struct timeval patience = {.tv_sec = 10};
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[4096], *body;
	size_t got = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&ss, len) ||
	    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0) {
		n = -errno;
		close(fd);
		return (int)n;
	}
	while (got < sizeof(buf) - 1 && (n = read(fd, buf + got, sizeof(buf) - 1 - got)) > 0)
		got += (size_t)n;
	close(fd);
	buf[got] = '\0';
	body = strstr(buf, "\r\n\r\n");
	if (!body)
		return -EPROTO;
	fputs(body + 4, stdout);
	return fflush(stdout) ? -errno : 0;
}

int demo_client(int argc, char **argv)
{
	struct addrport to = {0};
	char *end = NULL;
	unsigned long port = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
	int r = -EINVAL;

	if (argc == 3 && !addr_parse(argv[1], &to.addr) && *argv[2] && !*end && port &&
	    port <= UINT16_MAX) {
		to.port = (uint16_t)port;
		r = fetch(&to);
	}
	if (r)
		log_error("demo-client: %s", strerror(-r));
	return r ? 1 : 0;
}
