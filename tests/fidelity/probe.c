/* SPDX-License-Identifier: MIT */
/*
 * probe: what a program sees of the network, as lines that can be compared.
 *
 *   probe CASE 4|6 ADDR [ADDR2|NUMBER...]      probe --list
 *
 * Each case prints errno names, byte counts and sums, the order of events and coarse times,
 * and nothing that may differ between two honest runs. So the output of a run with nothing in
 * between is the specification for a run through weir. What a person may want to know in
 * addition goes to stderr. The servers are tests/lib/peer.c and tests/lib/hostile.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h>

#include "wire.h"

#define WAIT_MS 2500 /* longest wait for something that may rightly not come */

static int family;
static char **args;
static int n_args;
static uint8_t big[1 << 20];

/* --- small things ------------------------------------------------------------------- */

static void die(const char *what)
{
	printf("probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static const char *error_name(int err)
{
	const char *n = strerrorname_np(err);

	return err ? n ? n : "?" : "0";
}

static const char *yes(bool b)
{
	return b ? "yes" : "no";
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void sleep_ms(unsigned ms)
{
	usleep(ms * 1000);
}

/* time_class - "at once", or whole seconds: a connection's timers tick in seconds */
static const char *time_class(uint64_t from_us)
{
	static char text[32];
	uint64_t ms = (now_us() - from_us) / 1000;

	fprintf(stderr, "# took %llu ms\n", (unsigned long long)ms);
	if (ms < 700)
		return "at once";
	snprintf(text, sizeof(text), "after %llu s", (unsigned long long)(ms + 400) / 1000);
	return text;
}

static const char *arg(int i)
{
	if (i >= n_args) {
		fprintf(stderr, "probe: argument %d is missing\n", i + 1);
		exit(2);
	}
	return args[i];
}

static int number(int i)
{
	return atoi(arg(i));
}

/* --- addresses --------------------------------------------------------------------------- */

struct dest {
	struct sockaddr_storage ss;
	socklen_t len;
};

static struct dest dest(const char *addr, unsigned port)
{
	struct dest d = {0};
	struct sockaddr_in6 *s6 = (void *)&d.ss;
	struct sockaddr_in *s4 = (void *)&d.ss;

	d.ss.ss_family = (sa_family_t)family;
	d.len = family == AF_INET ? sizeof(*s4) : sizeof(*s6);
	if (family == AF_INET)
		s4->sin_port = htons((uint16_t)port);
	else
		s6->sin6_port = htons((uint16_t)port);
	if (addr &&
	    inet_pton(family, addr,
		      family == AF_INET ? (void *)&s4->sin_addr : (void *)&s6->sin6_addr) != 1)
		die(addr);
	return d;
}

static const struct sockaddr *sa(const struct dest *d)
{
	return (const struct sockaddr *)&d->ss;
}

static unsigned port_of(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET ? ((const struct sockaddr_in *)ss)->sin_port
					      : ((const struct sockaddr_in6 *)ss)->sin6_port);
}

static const char *addr_text(const void *ss)
{
	static char text[4][INET6_ADDRSTRLEN];
	static unsigned turn;
	char *t = text[turn++ % 4];
	const struct sockaddr_storage *s = ss;

	if (s->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)ss)->sin_addr, t, sizeof(text[0]));
	else if (s->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)ss)->sin6_addr, t,
			  sizeof(text[0]));
	else
		strcpy(t, "none");
	return t;
}

/* --- sockets ------------------------------------------------------------------------------- */

static int sock(int type, int proto)
{
	int fd = socket(family, type, proto);

	if (fd < 0)
		die("socket");
	return fd;
}

static void set_int(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		die("setsockopt");
}

/* set_ip - one option that IPv4 and IPv6 name differently */
static void set_ip(int fd, int name4, int name6, int value)
{
	set_int(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
		family == AF_INET ? name4 : name6, value);
}

static int bind_port(int fd, unsigned port)
{
	struct dest d = dest(NULL, port);

	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	return bind(fd, sa(&d), d.len) ? errno : 0;
}

static int connect_to(int fd, const char *addr, unsigned port)
{
	struct dest d = dest(addr, port);

	return connect(fd, sa(&d), d.len) ? errno : 0;
}

/* stream_to - a connected stream, or the end of this case */
static int stream_to(const char *addr, unsigned port)
{
	int fd = sock(SOCK_STREAM, 0), err = connect_to(fd, addr, port);

	if (err) {
		say("connect %s", error_name(err));
		exit(0);
	}
	return fd;
}

static int send_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0)
			return errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* send_pattern - @len bytes of the pattern; returns 0 or errno */
static int send_pattern(int fd, size_t from, size_t len)
{
	for (size_t n; len; from += n, len -= n) {
		int err;

		n = len < sizeof(big) ? len : sizeof(big);
		wire_fill(big, n, from);
		err = send_all(fd, big, n);
		if (err)
			return err;
	}
	return 0;
}

/* read_to_end - count and sum until EOF or error, and say so */
static void read_to_end(int fd)
{
	uint32_t sum = 1;
	size_t count = 0;
	ssize_t n;

	while ((n = recv(fd, big, sizeof(big), 0)) > 0) {
		sum = wire_sum(sum, big, (size_t)n);
		count += (size_t)n;
	}
	say("read %zu bytes, sum %08x, then %s", count, sum, n ? error_name(errno) : "EOF");
}

/* read_text - all to EOF as text */
static void read_text(int fd)
{
	char text[256];
	size_t n = 0;
	ssize_t r;

	while (n < sizeof(text) - 1 && (r = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0)
		n += (size_t)r;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	say("answer \"%s\", then %s", text, r ? error_name(errno) : "EOF");
}

/* say_last - what the server saw of the connection before */
static void say_last(void)
{
	int fd;

	sleep_ms(300);
	fd = stream_to(arg(0), TCP_LAST);
	printf("server: ");
	read_text(fd);
	close(fd);
}

static bool wait_readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) > 0;
}

static void linger_zero(int fd)
{
	struct linger l = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static bool echo_once(int fd, size_t len)
{
	uint8_t back[65536];

	wire_fill(big, len, len);
	return !send_all(fd, big, len) && recv(fd, back, len, MSG_WAITALL) == (ssize_t)len &&
	       !memcmp(big, back, len);
}

/* --- TCP: connecting ------------------------------------------------------------------------- */

/* connect ADDR PORT: how it goes, and how the connection ends when it does not at once */
static void case_connect(void)
{
	int fd = sock(SOCK_STREAM, 0), err;
	uint64_t start = now_us();

	err = connect_to(fd, arg(0), (unsigned)number(1));
	say("connect %s %s", error_name(err), time_class(start));
}

/* connect_again ADDR PORT: the same, twice on one socket: the kernel allows it */
static void case_connect_again(void)
{
	int fd = sock(SOCK_STREAM, 0);

	for (int i = 0; i < 2; i++)
		say("connect %s", error_name(connect_to(fd, arg(0), (unsigned)number(1))));
}

/* connect_synack_rst: the reset may come before or after connect() returns; either is honest */
static void case_connect_synack_rst(void)
{
	int fd = sock(SOCK_STREAM, 0);
	int err = connect_to(fd, arg(0), HOSTILE_RST_AFTER_SYNACK);
	char c;

	if (!err && recv(fd, &c, 1, 0) < 0)
		err = errno;
	say("connection ended with %s", error_name(err));
}

/* connect_timeout ADDR: the program's own limit of SYNs */
static void case_connect_timeout(void)
{
	int fd = sock(SOCK_STREAM, 0), err;
	uint64_t start = now_us();

	set_int(fd, IPPROTO_TCP, TCP_SYNCNT, 2);
	err = connect_to(fd, arg(0), TCP_ECHO);
	say("connect %s %s", error_name(err), time_class(start));
}

/* connect_poll ADDR PORT: as event loops do it */
static void case_connect_poll(void)
{
	int fd = sock(SOCK_STREAM | SOCK_NONBLOCK, 0), err;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(err);

	say("connect %s", error_name(connect_to(fd, arg(0), (unsigned)number(1))));
	poll(&p, 1, 5000);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	/* with ERR, whether OUT and HUP are there yet is a race in the kernel */
	say("poll%s, SO_ERROR %s",
	    p.revents & POLLERR	  ? " ERR"
	    : p.revents & POLLOUT ? " OUT"
				  : "",
	    error_name(err));
}

/* late: a server that misses the first SYNs */
static void case_late(void)
{
	int fd = sock(SOCK_STREAM, 0), err;
	uint64_t start = now_us();

	err = connect_to(fd, arg(0), HOSTILE_LATE);
	say("connect %s %s", error_name(err), time_class(start));
	say("echo %s", yes(!err && echo_once(fd, 100)));
}

/* give_up ADDR: the program closes while connecting, then all is well with the next one */
static void case_give_up(void)
{
	int fd = sock(SOCK_STREAM | SOCK_NONBLOCK, 0);

	say("bind %s", error_name(bind_port(fd, 41090)));
	say("connect %s", error_name(connect_to(fd, arg(0), HOSTILE_SILENT)));
	sleep_ms(100);
	close(fd);
	fd = sock(SOCK_STREAM, 0);
	say("bind %s", error_name(bind_port(fd, 41090)));
	say("connect %s", error_name(connect_to(fd, arg(0), HOSTILE_ECHO)));
	say("echo %s", yes(echo_once(fd, 100)));
}

/* --- TCP: closing ------------------------------------------------------------------------------
 */

static void case_half_close_up(void)
{
	int fd = stream_to(arg(0), TCP_COUNT);

	say("send %s", error_name(send_pattern(fd, 0, 1000003)));
	say("shutdown %s", error_name(shutdown(fd, SHUT_WR) ? errno : 0));
	read_text(fd);
}

static void case_half_close_down(void)
{
	int fd = stream_to(arg(0), TCP_SPEAK_FIRST);

	read_to_end(fd);
	say("send %s", error_name(send_pattern(fd, 0, 50000)));
	sleep_ms(100);
	say("send %s", error_name(send_pattern(fd, 50000, 50000)));
	close(fd);
	say_last();
}

static void case_empty(void)
{
	int fd = stream_to(arg(0), TCP_COUNT);

	shutdown(fd, SHUT_WR);
	read_text(fd);
	close(fd);
	fd = stream_to(arg(0), TCP_CLOSE_FIRST);
	read_to_end(fd);
}

static void case_reset_by_peer(void)
{
	int fd = stream_to(arg(0), TCP_RST_LATER);

	send_all(fd, "x", 1);
	read_to_end(fd);
	say("send %s", error_name(send_all(fd, "x", 1)));
}

static void case_reset_unread(void)
{
	int fd = stream_to(arg(0), TCP_RST_UNREAD);

	say("send %s", error_name(send_pattern(fd, 0, 5000)));
	read_to_end(fd);
}

/* reset_by_us: SO_LINGER 0 */
static void case_reset_by_us(void)
{
	int fd = stream_to(arg(0), TCP_READ_RST);

	say("send %s", error_name(send_pattern(fd, 0, 1000)));
	sleep_ms(100);
	linger_zero(fd);
	close(fd);
	say_last();
}

/* reset_by_us_unread: closing with unread data resets as well */
static void case_reset_by_us_unread(void)
{
	int fd = stream_to(arg(0), TCP_SPEAK_FIRST);

	sleep_ms(300);
	close(fd);
	say_last();
}

static void case_reset_midway(void)
{
	read_to_end(stream_to(arg(0), HOSTILE_RST_MIDWAY));
}

static void case_simultaneous_close(void)
{
	int fd = stream_to(arg(0), (unsigned)number(1));
	char c;

	send_all(fd, "x", 1);
	say("read %zd", recv(fd, &c, 1, 0));
	say("shutdown %s", error_name(shutdown(fd, SHUT_WR) ? errno : 0));
	read_to_end(fd);
	say("close %s", error_name(close(fd) ? errno : 0));
}

/* --- TCP: bytes --------------------------------------------------------------------------------
 */

/* fill - send without blocking until nothing has gone for 400 ms */
static size_t fill(int fd, size_t max, bool *held)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	size_t sent = 0;

	*held = false;
	while (sent < max && !*held) {
		size_t n = max - sent < 65536 ? max - sent : 65536;
		ssize_t r;

		wire_fill(big, n, sent);
		r = send(fd, big, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r > 0)
			sent += (size_t)r;
		else if (errno != EAGAIN)
			break;
		else
			*held = poll(&p, 1, 400) == 0;
	}
	return sent;
}

static void case_slow_reader(void)
{
	int fd = stream_to(arg(0), TCP_SLOW_READER);
	size_t sent;
	bool held;

	sent = fill(fd, FLOOD_BYTES, &held);
	fprintf(stderr, "# held up after %zu bytes\n", sent);
	say("held up %s", yes(held));
	say("send %s", error_name(send_pattern(fd, sent, FLOOD_BYTES - sent)));
	shutdown(fd, SHUT_WR);
	read_text(fd);
}

static void case_slow_program(void)
{
	int fd = sock(SOCK_STREAM, 0);

	set_int(fd, SOL_SOCKET, SO_RCVBUF, 16384);
	say("connect %s", error_name(connect_to(fd, arg(0), TCP_FLOOD)));
	sleep_ms(1500);
	read_to_end(fd);
	say_last();
}

static void case_zero_window(void)
{
	int fd = stream_to(arg(0), HOSTILE_ZERO_WINDOW);
	uint64_t start = now_us();

	say("send %s", error_name(send_pattern(fd, 0, 200000)));
	shutdown(fd, SHUT_WR);
	read_text(fd);
	say("took more than 2 s: %s", yes(now_us() - start > 2000000));
}

static void case_urgent(void)
{
	int fd = sock(SOCK_STREAM, 0);
	char text[8] = "";
	ssize_t n = 1;

	set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	say("connect %s", error_name(connect_to(fd, arg(0), TCP_URGENT)));
	/* one recv() stops at the urgent mark, which is not carried: LIMITS */
	for (size_t got = 0; got < 7 && n > 0; got += n > 0 ? (size_t)n : 0)
		n = recv(fd, text + got, 7 - got, 0);
	say("read \"%s\"", text);
	send_all(fd, "x", 1);
	sleep_ms(20);
	send(fd, "?", 1, MSG_OOB | MSG_NOSIGNAL);
	sleep_ms(20);
	send_all(fd, "y", 1);
	shutdown(fd, SHUT_WR);
	read_text(fd);
}

/* echo ADDR PORT: rounds of many sizes, each compared */
static void case_echo(void)
{
	int fd = stream_to(arg(0), (unsigned)number(1)), good = 0;

	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	for (size_t i = 0; i < 40; i++)
		good += echo_once(fd, 1 + i * i * 2 % 3001);
	shutdown(fd, SHUT_WR);
	say("good rounds %d of 40", good);
	read_to_end(fd);
}

static void case_fin_first(void)
{
	read_to_end(stream_to(arg(0), HOSTILE_FIN_FIRST));
}

static void case_blind_reset(void)
{
	read_text(stream_to(arg(0), HOSTILE_BLIND_RST));
}

/* --- TCP: ports, time ------------------------------------------------------------------------- */

/* connect_from - a stream from a port of our choice; -1 with a line said when it fails */
static int connect_from(unsigned port, const char *addr, unsigned to)
{
	int fd = sock(SOCK_STREAM, 0), err = bind_port(fd, port);

	if (!err)
		err = connect_to(fd, addr, to);
	say("connect %s", error_name(err));
	if (!err)
		return fd;
	close(fd);
	return -1;
}

static void case_reuse_after_reset(void)
{
	for (int i = 0; i < 20; i++) {
		int fd = connect_from(41001, arg(0), TCP_ECHO);

		if (fd < 0)
			return;
		say("echo %s", yes(echo_once(fd, 1000)));
		linger_zero(fd);
		close(fd);
	}
}

/* reuse_after_peer_closed: the peer has the TIME_WAIT, so the port may be used at once */
static void case_reuse_after_peer_closed(void)
{
	for (int i = 0; i < 3; i++) {
		int fd = connect_from(41002, arg(0), TCP_CLOSE_FIRST);

		if (fd < 0)
			return;
		read_to_end(fd);
		close(fd);
		sleep_ms(50);
	}
}

/* reuse_time_wait: we have the TIME_WAIT */
static void case_reuse_time_wait(void)
{
	for (int i = 0; i < 2; i++) {
		int fd = connect_from(41003, arg(0), TCP_ECHO);

		if (fd < 0)
			return;
		shutdown(fd, SHUT_WR);
		read_to_end(fd);
		close(fd);
		sleep_ms(50);
	}
}

static void case_two_destinations(void)
{
	int a = connect_from(41004, arg(0), TCP_ECHO), b = connect_from(41004, arg(1), TCP_ECHO);

	for (int i = 0; i < 3; i++)
		say("echo %s %s", yes(echo_once(a, 1000)), yes(echo_once(b, 2000)));
	close(a);
	say("echo %s", yes(echo_once(b, 3000)));
}

static void case_keepalive(void)
{
	int fd = stream_to(arg(0), HOSTILE_DIES);
	uint64_t start = now_us();
	char text[32] = "";

	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	if (wait_readable(fd, 20000))
		say("recv %s", recv(fd, text, 1, 0) < 0 ? error_name(errno) : "no error");
	else
		say("no end within 20 s");
	fprintf(stderr, "# keepalive ended it after %llu ms\n",
		(unsigned long long)(now_us() - start) / 1000);
	close(fd);
	fd = stream_to(arg(0), HOSTILE_HEARD);
	recv(fd, text, sizeof(text) - 1, MSG_WAITALL);
	fprintf(stderr, "# the dead server heard %d probes\n", atoi(text));
	say("server heard at least 2 probes: %s", yes(atoi(text) >= 2));
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* say_median - as a class: a delayed ACK (40 ms), or lwIP's 250 ms, would show */
static void say_median(const char *what, uint64_t *us, size_t n)
{
	uint64_t m;

	qsort(us, n, sizeof(*us), compare_u64);
	m = us[n / 2];
	fprintf(stderr, "# %s: median %llu us, worst %llu us\n", what, (unsigned long long)m,
		(unsigned long long)us[n - 1]);
	say("%s: median %s", what, m < 10000 ? "< 10 ms" : m < 38000 ? "< 38 ms" : ">= 38 ms");
}

static void case_ping_pong(void)
{
	int fd = stream_to(arg(0), TCP_ECHO);
	uint64_t us[50];
	char c = 'x';

	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	for (size_t i = 0; i < 50; i++) {
		us[i] = now_us();
		if (send_all(fd, &c, 1) || recv(fd, &c, 1, 0) != 1)
			die("ping-pong");
		us[i] = now_us() - us[i];
	}
	say_median("one byte there and back", us, 50);
}

static void case_two_writes(void)
{
	int fd = stream_to(arg(0), TCP_TWO_WRITES);
	uint64_t us[21];
	char c;

	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	for (size_t i = 0; i < 21; i++) {
		us[i] = now_us();
		if (send_all(fd, "abcd", 4) || send_all(fd, "efgh", 4) || recv(fd, &c, 1, 0) != 1)
			die("write-write-read");
		us[i] = now_us() - us[i];
	}
	say_median("write, write, read", us, 21);
}

static void case_idle(void)
{
	int fd = stream_to(arg(0), TCP_ECHO);

	say("echo %s", yes(echo_once(fd, 10)));
	sleep_ms(3000);
	say("echo %s", yes(echo_once(fd, 10)));
}

static void case_names(void)
{
	int fd = stream_to(arg(0), TCP_ECHO);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	getsockname(fd, (struct sockaddr *)&ss, &len);
	say("getsockname %s", addr_text(&ss));
	len = sizeof(ss);
	getpeername(fd, (struct sockaddr *)&ss, &len);
	say("getpeername %s %u", addr_text(&ss), port_of(&ss));
	len = sizeof(ss);
}

/* --- UDP ----------------------------------------------------------------------------------------
 */

static int dgram_to(const char *addr, unsigned port)
{
	int fd = sock(SOCK_DGRAM, 0), err = connect_to(fd, addr, port);

	if (err) {
		say("connect %s", error_name(err));
		exit(0);
	}
	return fd;
}

static int send_to(int fd, const char *addr, unsigned port, const void *data, size_t len)
{
	struct dest d = dest(addr, port);

	return sendto(fd, data, len, 0, sa(&d), d.len) < 0 ? errno : 0;
}

/* recv_wait - bytes, -errno, or -ETIMEDOUT when nothing comes */
static ssize_t recv_wait(int fd, void *buf, size_t size, struct sockaddr_storage *from)
{
	socklen_t len = sizeof(*from);
	ssize_t n;

	if (!wait_readable(fd, WAIT_MS))
		return -ETIMEDOUT;
	n = recvfrom(fd, buf, size, MSG_DONTWAIT, (struct sockaddr *)from, from ? &len : NULL);
	return n < 0 ? -errno : n;
}

static void case_dgram_sizes(void)
{
	static const size_t sizes[] = {0, 1, 1452, 1453, 1472, 1473, 8192, 65507, 65508};
	int fd = dgram_to(arg(0), UDP_ECHO);
	uint8_t back[65536];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ssize_t n;

		wire_fill(big, sizes[i], i);
		if (send(fd, big, sizes[i], 0) < 0) {
			say("send of %zu bytes: %s", sizes[i], error_name(errno));
			continue;
		}
		n = recv_wait(fd, back, sizeof(back), NULL);
		if (n < 0)
			say("echo of %zu bytes: %s", sizes[i], error_name((int)-n));
		else
			say("echo of %zu bytes: %zd, same %s", sizes[i], n,
			    yes(!memcmp(back, big, (size_t)n)));
	}
}

/* whoami - the source port that a server sees; 0 when it does not answer */
static unsigned whoami(int fd, const char *addr)
{
	char text[160];
	unsigned port = 0;
	ssize_t n;

	send_to(fd, addr, UDP_WHOAMI, "?", 1);
	n = recv_wait(fd, text, sizeof(text) - 1, NULL);
	if (n < 0)
		return 0;
	text[n] = 0;
	sscanf(text, "%*s %u", &port);
	return port;
}

static void case_dgram_mapping(void)
{
	int fd = sock(SOCK_DGRAM, 0), other = sock(SOCK_DGRAM, 0);
	unsigned a, b, c;

	say("bind %s %s", error_name(bind_port(fd, 42001)), error_name(bind_port(other, 42002)));
	a = whoami(fd, arg(0));
	b = whoami(fd, arg(1));
	c = whoami(other, arg(0));
	say("answered %s", yes(a && b && c));
	say("same port for both destinations %s", yes(a == b));
	say("another port for another socket %s", yes(a != c));
	say("own port kept %s %s", yes(a == 42001), yes(c == 42002));
}

/* dgram_from ADDR PORT: where the answer to PORT comes from */
static void case_dgram_from(void)
{
	int fd = sock(SOCK_DGRAM, 0), connected = dgram_to(arg(0), (unsigned)number(1));
	struct sockaddr_storage from = {0};
	char text[8];
	ssize_t n;

	send_to(fd, arg(0), (unsigned)number(1), "hello", 5);
	n = recv_wait(fd, text, sizeof(text), &from);
	say("unconnected: %zd from %s %u", n, addr_text(&from), port_of(&from));
	send(connected, "hello", 5, 0);
	say("connected: %s", error_name((int)-recv_wait(connected, text, sizeof(text), NULL)));
}

static void case_dgram_unasked(void)
{
	struct sockaddr_storage from = {0};
	int fd = sock(SOCK_DGRAM, 0);
	char text[8];
	ssize_t n;

	send_to(fd, arg(0), UDP_UNASKED, "?", 1);
	while ((n = recv_wait(fd, text, sizeof(text) - 1, &from)) > 0) {
		text[n] = 0;
		say("%s from %s %u", text, addr_text(&from), port_of(&from));
	}
}

/* dgram_error ADDR PORT: what a connected socket without IP_RECVERR learns */
static void case_dgram_error(void)
{
	int fd = dgram_to(arg(0), (unsigned)number(1));
	char text[64];
	ssize_t n;

	say("send %s", error_name(send(fd, "x", 1, 0) < 0 ? errno : 0));
	n = recv_wait(fd, text, sizeof(text), NULL);
	say("recv %s", n < 0 ? error_name((int)-n) : "data");
	sleep_ms(100);
	say("send %s", error_name(send(fd, "x", 1, 0) < 0 ? errno : 0));
}

static const struct sock_extended_err *find_err(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			return (const void *)CMSG_DATA(c);
	return NULL;
}

/* say_error_queue - one entry, all that recvmsg(MSG_ERRQUEUE) tells */
static void say_error_queue(int fd, const void *sent, size_t sent_len)
{
	struct sockaddr_storage to = {0};
	const struct sock_extended_err *e;
	char ctl[512], data[2048];
	struct iovec iov = {data, sizeof(data)};
	struct msghdr m = {.msg_name = &to,
			   .msg_namelen = sizeof(to),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};
	struct pollfd p = {.fd = fd};
	ssize_t n = -1;

	if (poll(&p, 1, WAIT_MS) > 0)
		n = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
	e = n < 0 ? NULL : find_err(&m);
	if (!e) {
		say("error queue empty");
		return;
	}
	say("error %s origin %u type %u code %u info %u", error_name((int)e->ee_errno),
	    e->ee_origin, e->ee_type, e->ee_code, e->ee_info);
	say("offender %s, sent to %s %u", addr_text((const char *)e + sizeof(*e)), addr_text(&to),
	    port_of(&to));
	if (sent_len > (size_t)n)
		sent_len = (size_t)n;
	say("payload is what was sent %s", yes(sent_len && !memcmp(sent, data, sent_len)));
}

/* dgram_recverr ADDR PORT [TTL]: the error queue of an unconnected socket */
static void case_dgram_recverr(void)
{
	int fd = sock(SOCK_DGRAM, 0);

	set_ip(fd, IP_RECVERR, IPV6_RECVERR, 1);
	if (n_args > 2)
		set_ip(fd, IP_TTL, IPV6_UNICAST_HOPS, number(2));
	say("send %s", error_name(send_to(fd, arg(0), (unsigned)number(1), "payload", 7)));
	say_error_queue(fd, "payload", 7);
}

/* dgram_beside HEALTHY: a destination that refuses never costs another one a datagram */
static void case_dgram_beside(void)
{
	int fd = sock(SOCK_DGRAM, 0), good = 0;
	char text[8];

	for (int i = 0; i < 10; i++) {
		send_to(fd, arg(0), UDP_REFUSED, "x", 1);
		if (i & 1)
			sleep_ms(20);
		if (send_to(fd, arg(0), UDP_ECHO, "hello", 5))
			continue;
		good += recv_wait(fd, text, sizeof(text), NULL) == 5;
	}
	say("echoes beside a refused destination: %d of 10", good);
}

/* dgram_too_big ADDR: a smaller MTU behind the router, don't fragment */
static void case_dgram_too_big(void)
{
	int fd = dgram_to(arg(0), UDP_ECHO), mtu = 0;
	size_t size = family == AF_INET ? 1472 : 1452;
	socklen_t len = sizeof(mtu);
	char text[2048];

	set_ip(fd, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO);
	set_ip(fd, IP_RECVERR, IPV6_RECVERR, 1);
	say("send %s", error_name(send(fd, big, size, 0) < 0 ? errno : 0));
	say_error_queue(fd, big, 8);
	recv(fd, text, sizeof(text), MSG_DONTWAIT); /* takes the pending error, if it is left */
	say("send again %s", error_name(send(fd, big, size, 0) < 0 ? errno : 0));
	getsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
		   family == AF_INET ? IP_MTU : IPV6_MTU, &mtu, &len);
	say("path MTU %d", mtu);
	recv(fd, text, sizeof(text), MSG_DONTWAIT);
	while (recv(fd, text, sizeof(text), MSG_ERRQUEUE | MSG_DONTWAIT) >= 0)
		;
	say("send of what fits %s", error_name(send(fd, big, size - 100, 0) < 0 ? errno : 0));
	say("echo %zd", recv_wait(fd, text, sizeof(text), NULL));
	say("send of what even the device can't %s",
	    error_name(send(fd, big, 1473, 0) < 0 ? errno : 0));
}

/* dgram_small_path ADDR: the same with the kernel free to fragment, after a loss or two */
static void case_dgram_small_path(void)
{
	int fd = sock(SOCK_DGRAM, 0);
	char text[4096];
	ssize_t n = -1;

	for (int i = 0; i < 3 && n != 3000; i++) {
		send_to(fd, arg(0), UDP_ECHO, big, 1450);
		sleep_ms(50);
		while (recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0)
			;
		send_to(fd, arg(0), UDP_ECHO, big, 3000);
		n = recv_wait(fd, text, sizeof(text), NULL);
		while (n == 1450)
			n = recv_wait(fd, text, sizeof(text), NULL);
	}
	say("echo of 3000 bytes within three tries: %zd", n);
}

static void case_dgram_tos(void)
{
	static const int tos[] = {0, 0xb8, 0xb9, 0x2a, 0x03};
	int fd = dgram_to(arg(0), UDP_WHOAMI);

	for (size_t i = 0; i < sizeof(tos) / sizeof(tos[0]); i++) {
		char text[160];
		ssize_t n;

		set_ip(fd, IP_TOS, IPV6_TCLASS, tos[i]);
		send(fd, "?", 1, 0);
		n = recv_wait(fd, text, sizeof(text) - 1, NULL);
		text[n < 0 ? 0 : n] = 0;
		say("sent tos %d, server saw%s", tos[i], n < 0 ? " nothing" : strstr(text, " tos"));
	}
}

static int tos_received(int fd)
{
	char data[16], ctl[128];
	struct iovec iov = {data, sizeof(data)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};
	int tos = -1;

	if (!wait_readable(fd, WAIT_MS) || recvmsg(fd, &m, 0) < 0)
		return -2;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			tos = *CMSG_DATA(c);
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
			memcpy(&tos, CMSG_DATA(c), sizeof(tos));
	}
	return tos;
}

static void case_dgram_tos_down(void)
{
	static const uint8_t tos[] = {0, 0xb8, 0x2a, 0x03, 0x01};
	int fd = dgram_to(arg(0), UDP_TOS);

	set_ip(fd, IP_RECVTOS, IPV6_RECVTCLASS, 1);
	for (size_t i = 0; i < sizeof(tos); i++) {
		send(fd, &tos[i], 1, 0);
		say("asked for tos %d, got %d", tos[i], tos_received(fd));
	}
}

static void case_dgram_ttl(void)
{
	static const int ttl[] = {64, 33, 200, 2};
	int fd = dgram_to(arg(0), UDP_WHOAMI);

	for (size_t i = 0; i < sizeof(ttl) / sizeof(ttl[0]); i++) {
		char text[160];
		ssize_t n;

		set_ip(fd, IP_TTL, IPV6_UNICAST_HOPS, ttl[i]);
		send(fd, "?", 1, 0);
		n = recv_wait(fd, text, sizeof(text) - 1, NULL);
		text[n < 0 ? 0 : n] = 0;
		say("sent ttl %d, server saw%s", ttl[i], n < 0 ? " nothing" : strstr(text, " ttl"));
	}
}

/* dgram_order: 1000 numbered datagrams there and back, ten at a time */
static void case_dgram_order(void)
{
	int fd = dgram_to(arg(0), UDP_ECHO);
	uint32_t next = 0, disorder = 0, got = 0, seen;

	set_int(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20);
	for (uint32_t i = 0; i < 1000; i += 10) {
		for (uint32_t j = i; j < i + 10; j++)
			send(fd, &j, sizeof(j), 0);
		for (int j = 0; j < 10 && recv_wait(fd, &seen, sizeof(seen), NULL) == 4; j++) {
			got++;
			disorder += seen != next;
			next = seen + 1;
		}
	}
	say("%u of 1000 came back, %u out of order", got, disorder);
}

static void case_dgram_burst(void)
{
	int fd = dgram_to(arg(0), UDP_BURST);
	uint32_t next = 0, disorder = 0, got = 0, seen;
	uint8_t d[2048];

	set_int(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20);
	send(fd, big, 1200, 0);
	while (got < 1000 && recv_wait(fd, d, sizeof(d), NULL) == 1200) {
		memcpy(&seen, d, sizeof(seen));
		got++;
		disorder += seen != next;
		next = seen + 1;
	}
	say("%u of 1000 arrived, %u out of order", got, disorder);
}

/* dgram_segmented: UDP_SEGMENT, what QUIC does */
static void case_dgram_segmented(void)
{
	int fd = dgram_to(arg(0), UDP_ECHO), good = 0;
	uint8_t d[2048];

	set_int(fd, IPPROTO_UDP, UDP_SEGMENT, 1000);
	wire_fill(big, 9500, 0);
	say("send %s", error_name(send(fd, big, 9500, 0) < 0 ? errno : 0));
	for (size_t i = 0; i < 10; i++) {
		ssize_t n = recv_wait(fd, d, sizeof(d), NULL);

		good += n == (i < 9 ? 1000 : 500) && !memcmp(d, big + i * 1000, (size_t)n);
	}
	say("%d of 10 segments came back whole and in order", good);
}

/* --- ICMP, other protocols
 * ------------------------------------------------------------------------ */

static int ping_socket(void)
{
	int fd = socket(family, SOCK_DGRAM, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);

	if (fd < 0) {
		say("ping socket %s", error_name(errno));
		exit(0);
	}
	return fd;
}

/* ping_send - an echo request with @len bytes behind the header; returns 0 or errno */
static int ping_send(int fd, const char *addr, uint16_t seqno, size_t len)
{
	struct dest d = dest(addr, 0);
	uint8_t p[65536] = {family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST};

	p[6] = (uint8_t)(seqno >> 8);
	p[7] = (uint8_t)seqno;
	wire_fill(p + 8, len, seqno);
	return sendto(fd, p, len + 8, 0, sa(&d), d.len) < 0 ? errno : 0;
}

static void case_echo_sizes(void)
{
	static const size_t sizes[] = {0, 56, 1400, 1472, 1473, 8000};
	struct sockaddr_storage from = {0};
	int fd = ping_socket();
	uint8_t back[65536];

	for (uint16_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int err = ping_send(fd, arg(0), i, sizes[i]);
		ssize_t n = err ? -err : recv_wait(fd, back, sizeof(back), &from);

		if (n < 0) {
			say("echo of %zu bytes: %s", sizes[i], error_name((int)-n));
			continue;
		}
		wire_fill(big, sizes[i], i);
		say("echo of %zu bytes: %zd from %s, type %d, seqno %d, same %s", sizes[i], n - 8,
		    addr_text(&from), back[0], back[6] << 8 | back[7],
		    yes(n >= 8 && !memcmp(back + 8, big, (size_t)n - 8)));
	}
}

/* echo_ident: two sockets at once keep their answers apart */
static void case_echo_ident(void)
{
	int a = ping_socket(), b = ping_socket();
	uint8_t da[64] = "", db[64] = "";
	struct dest d = dest(NULL, 4711);
	ssize_t na, nb;

	say("bind %s", error_name(bind(a, sa(&d), d.len) ? errno : 0));
	ping_send(a, arg(0), 1, 8);
	ping_send(b, arg(0), 2, 16);
	na = recv_wait(a, da, sizeof(da), NULL);
	nb = recv_wait(b, db, sizeof(db), NULL);
	say("first: %zd bytes, ident %d, seqno %d", na, da[4] << 8 | da[5], da[7]);
	say("second: %zd bytes, seqno %d", nb, db[7]);
}

/* echo_recverr ADDR [TTL]: errors to echo requests */
static void case_echo_recverr(void)
{
	int fd = ping_socket();

	set_ip(fd, IP_RECVERR, IPV6_RECVERR, 1);
	if (n_args > 1)
		set_ip(fd, IP_TTL, IPV6_UNICAST_HOPS, number(1));
	say("send %s", error_name(ping_send(fd, arg(0), 1, 32)));
	say_error_queue(fd, NULL, 0);
}

/* protocol ADDR NUMBER: something that nobody speaks */
static void case_protocol(void)
{
	int fd = socket(family, SOCK_RAW, number(1));
	char text[64];

	if (fd < 0) {
		say("raw socket %s", error_name(errno));
		return;
	}
	say("connect %s", error_name(connect_to(fd, arg(0), 0)));
	set_ip(fd, IP_RECVERR, IPV6_RECVERR, 1);
	say("send %s", error_name(send(fd, "12345678abcdefgh", 16, 0) < 0 ? errno : 0));
	say_error_queue(fd, NULL, 0);
	recv(fd, text, sizeof(text), MSG_DONTWAIT);
}

/* --- the machine as seen
 * ------------------------------------------------------------------------------ */

static unsigned prefix_bits(const struct sockaddr *mask)
{
	const uint8_t *b =
		mask->sa_family == AF_INET
			? (const void *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr
			: (const void *)&((const struct sockaddr_in6 *)(const void *)mask)
				  ->sin6_addr;
	unsigned n = 0;

	for (size_t i = 0; i < (mask->sa_family == AF_INET ? 4 : 16); i++)
		n += (unsigned)__builtin_popcount(b[i]);
	return n;
}

static int mtu_of(const char *dev)
{
	struct ifreq r = {0};
	int fd = sock(SOCK_DGRAM, 0);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", dev);
	if (ioctl(fd, SIOCGIFMTU, &r))
		r.ifr_mtu = 0;
	close(fd);
	return r.ifr_mtu;
}

/* addresses: global ones of this family with their device's MTU; device names differ */
static void case_addresses(void)
{
	struct ifaddrs *list;

	if (getifaddrs(&list))
		die("getifaddrs");
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != family || i->ifa_flags & IFF_LOOPBACK)
			continue;
		if (!strncmp(addr_text(i->ifa_addr), "fe80", 4))
			continue;
		say("%s/%u mtu %d up %s", addr_text(i->ifa_addr), prefix_bits(i->ifa_netmask),
		    mtu_of(i->ifa_name), yes(i->ifa_flags & IFF_UP));
	}
	freeifaddrs(list);
}

/* route ADDR: source address and errno that the routes give */
static void case_route(void)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	int fd = sock(SOCK_DGRAM, 0), err = connect_to(fd, arg(0), 9);

	say("connect %s", error_name(err));
	if (!err && !getsockname(fd, (struct sockaddr *)&ss, &len))
		say("source %s", addr_text(&ss));
}

/* --- start
 * ---------------------------------------------------------------------------------------------- */

#define CASE(name)                                                                                 \
	{                                                                                          \
#name, case_##name                                                                 \
	}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	CASE(connect),
	CASE(connect_again),
	CASE(connect_synack_rst),
	CASE(connect_timeout),
	CASE(connect_poll),
	CASE(late),
	CASE(give_up),
	CASE(half_close_up),
	CASE(half_close_down),
	CASE(empty),
	CASE(reset_by_peer),
	CASE(reset_unread),
	CASE(reset_by_us),
	CASE(reset_by_us_unread),
	CASE(reset_midway),
	CASE(simultaneous_close),
	CASE(slow_reader),
	CASE(slow_program),
	CASE(zero_window),
	CASE(urgent),
	CASE(echo),
	CASE(fin_first),
	CASE(blind_reset),
	CASE(reuse_after_reset),
	CASE(reuse_after_peer_closed),
	CASE(reuse_time_wait),
	CASE(two_destinations),
	CASE(keepalive),
	CASE(ping_pong),
	CASE(two_writes),
	CASE(idle),
	CASE(names),
	CASE(dgram_sizes),
	CASE(dgram_mapping),
	CASE(dgram_from),
	CASE(dgram_unasked),
	CASE(dgram_error),
	CASE(dgram_recverr),
	CASE(dgram_beside),
	CASE(dgram_too_big),
	CASE(dgram_small_path),
	CASE(dgram_tos),
	CASE(dgram_tos_down),
	CASE(dgram_ttl),
	CASE(dgram_order),
	CASE(dgram_burst),
	CASE(dgram_segmented),
	CASE(echo_sizes),
	CASE(echo_ident),
	CASE(echo_recverr),
	CASE(protocol),
	CASE(addresses),
	CASE(route),
};

int main(int argc, char **argv)
{
	size_t n = sizeof(cases) / sizeof(cases[0]);

	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; i < n; i++)
			puts(cases[i].name);
		return 0;
	}
	family = argc > 2 && argv[2][0] == '6' ? AF_INET6 : AF_INET;
	args = argv + 3;
	n_args = argc - 3;
	alarm(60); /* a case that hangs says so by its death */
	for (size_t i = 0; argc > 2 && i < n; i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		cases[i].run();
		return 0;
	}
	fprintf(stderr, "usage: probe CASE 4|6 ADDR [ARG...] | probe --list\n");
	return 2;
}
