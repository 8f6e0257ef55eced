// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's pid 1: mounts, runs one job, writes down how it ended, powers off.
 *
 * Started by the kernel as "init HOME", a folder of this guest on the host. In
 * it, `job` leads to the run's own folder, which appears as /run/job, the only
 * place the guest can write to that outlives it. Protocol, all in that folder
 * (job.py writes and reads it):
 *
 *   guest.job  in:  a sequence of NUL-ended strings: "job 2"; how long the job
 *                   may take, in nanoseconds of virtual time, 0 for any; then
 *                   three lists, each its length in decimal and so many strings:
 *                   argv, the environment ("NAME=value"), and host folders to
 *                   show (read-only), each after the place where to.
 *   stdout, stderr  out: the job's.
 *   guest.end  out: "exit STATUS VIRTUAL_NS SYSCALLS FAULTS EXECS BYTES\n", STATUS
 *                   as a shell counts it (128 + N for signal N), the last four
 *                   what /proc/um_counts has, or "failed WHAT\n" when a step of
 *                   this program failed. Absent if the guest died.
 *   guest.profile  out: what /proc/um_profile has, if the kernel keeps it.
 *
 * A failure also goes to the kernel log, hence to the console, as a line that
 * starts with "testbed-init:". No shell, no other process: each costs 5 ms.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB "/run/job"

struct list {
	size_t count;
	char **items;	/* NULL-ended */
};

struct job {
	long long limit_ns;
	struct list argv, env, shown;
};

/* For lines of at most a few hundred bytes. Returns 0, or -1 with errno set. */
static int write_line(const char *path, int flags, const char *text)
{
	ssize_t length = strlen(text);
	int fd = open(path, flags | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, length) != length)
		return -1;
	return close(fd);
}

static _Noreturn void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);	/* panics: pid 1 must not end */
}

/* Says what failed and why (errno) on console and in guest.end; powers off. */
static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
	const char *why = strerror(errno);
	char what[400], line[600];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(line, sizeof(line), "<3>testbed-init: %s: %s\n", what, why);
	write_line("/dev/kmsg", 0, line);
	snprintf(line, sizeof(line), "failed %s: %s\n", what, why);
	write_line(JOB "/guest.end", O_CREAT | O_TRUNC, line);	/* if mounted by now */
	power_off();
}

static void make_folder(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail("mkdir %s", path);
}

/* mkdir -p */
static void make_folders(const char *path)
{
	char part[4096];
	size_t i;

	if (strlen(path) >= sizeof(part)) {
		errno = ENAMETOOLONG;
		fail("mkdir %s", path);
	}
	for (i = 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		make_folder(part);
	}
	make_folder(path);
}

static void mount_at(const char *type, const char *path, unsigned long flags, const char *data)
{
	if (mount(type, path, type, flags, data) < 0)
		fail("mount %s at %s", type, path);
}

/* Mounts a folder of the guest's own, HOME/NAME on the host, at path. */
static void mount_own(const char *home, const char *name, const char *path, unsigned long flags)
{
	char folder[4096];

	snprintf(folder, sizeof(folder), "%s/%s", home, name);
	mount_at("hostfs", path, flags, folder);
}

static void mount_all(const char *home)
{
	mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("cgroup2", "/sys/fs/cgroup", 0, NULL);
	/* the kernel has mounted devtmpfs at /dev (DEVTMPFS_MOUNT) */
	make_folder("/dev/pts");
	mount_at("devpts", "/dev/pts", 0, "ptmxmode=0666");
	make_folder("/dev/shm");
	mount_at("tmpfs", "/dev/shm", 0, "mode=1777");
	if (symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST)
		fail("symlink /dev/fd");
	mount_at("tmpfs", "/run", 0, "mode=0755");
	mount_at("tmpfs", "/tmp", 0, "mode=1777");
	mount_at("tmpfs", "/var/tmp", 0, "mode=1777");
	make_folder("/run/lock");
	make_folder("/run/netns");
	make_folder("/run/home");
	make_folder(JOB);
	mount_own(home, "job", JOB, 0);
}

/* The whole of guest.job, NUL-ended; *length excludes that NUL. */
static char *read_job_file(size_t *length)
{
	struct stat st;
	size_t done = 0;
	char *text;
	int fd = open(JOB "/guest.job", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		fail("open %s/guest.job", JOB);
	text = calloc(1, st.st_size + 1);
	if (!text)
		fail("guest.job");
	while (done < (size_t)st.st_size) {
		ssize_t n = read(fd, text + done, st.st_size - done);

		if (n <= 0)
			fail("read guest.job");
		done += n;
	}
	close(fd);
	*length = done;
	return text;
}

/* The string at *at, which moves behind it; the file must not end before. */
static char *next_string(char **at, const char *end)
{
	char *text = *at;

	if (text >= end || text + strlen(text) >= end) {
		errno = EBADMSG;
		fail("guest.job is cut short");
	}
	*at += strlen(text) + 1;
	return text;
}

static struct list next_list(char **at, const char *end)
{
	struct list list = { .count = strtoul(next_string(at, end), NULL, 10) };
	size_t i;

	if (list.count > (size_t)(end - *at)) {
		errno = EBADMSG;
		fail("guest.job is cut short");
	}
	list.items = calloc(list.count + 1, sizeof(*list.items));
	if (!list.items)
		fail("guest.job");
	for (i = 0; i < list.count; i++)
		list.items[i] = next_string(at, end);
	return list;
}

static struct job read_job(void)
{
	size_t length;
	char *at = read_job_file(&length), *end = at + length;
	struct job job;

	if (strcmp(next_string(&at, end), "job 2")) {
		errno = EBADMSG;
		fail("guest.job is of another version");
	}
	job.limit_ns = strtoll(next_string(&at, end), NULL, 10);
	job.argv = next_list(&at, end);
	job.env = next_list(&at, end);
	job.shown = next_list(&at, end);
	if (!job.argv.count) {
		errno = EBADMSG;
		fail("guest.job names no command");
	}
	return job;
}

static void redirect(const char *path, int flags, int to)
{
	int fd = open(path, flags, 0644);

	if (fd < 0 || dup2(fd, to) < 0)
		fail("open %s", path);
	if (fd != to)
		close(fd);
}

static pid_t start(const struct job *job)
{
	sigset_t child_ended;
	pid_t pid;

	redirect("/dev/null", O_RDONLY, 0);
	redirect(JOB "/stdout", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 1);
	redirect(JOB "/stderr", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 2);
	if (chdir(JOB) < 0)
		fail("chdir %s", JOB);
	/* wait_for() takes it from the queue */
	sigemptyset(&child_ended);
	sigaddset(&child_ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_ended, NULL);
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid)
		return pid;
	sigprocmask(SIG_UNBLOCK, &child_ended, NULL);
	setsid();
	environ = job->env.items;	/* execvp looks PATH up in it */
	execvp(job->argv.items[0], job->argv.items);
	fprintf(stderr, "testbed-init: %s: %s\n", job->argv.items[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static long long now_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		fail("clock_gettime");
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Sleeps until a child ends, at most until end_ns if that is not 0. */
static void sleep_until_child_ends(long long end_ns)
{
	long long left_ns = end_ns - now_ns();
	struct timespec left = { left_ns / 1000000000, left_ns % 1000000000 };
	sigset_t child_ended;

	sigemptyset(&child_ended);
	sigaddset(&child_ended, SIGCHLD);
	if (!end_ns) {
		sigwaitinfo(&child_ended, NULL);
		return;
	}
	errno = ETIME;
	if (left_ns <= 0 || (sigtimedwait(&child_ended, NULL, &left) < 0 && errno == EAGAIN))
		fail("the job did not end within its limit of virtual time");
}

/* Reaps whatever ends until the job does: its status as a shell counts it. */
static int wait_for(pid_t job, long long limit_ns)
{
	long long end_ns = limit_ns ? now_ns() + limit_ns : 0;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) != job) {
		if (pid < 0)
			fail("wait");
		if (pid == 0)
			sleep_until_child_ends(end_ns);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Puts the kernel's counts, a line of numbers, into text. */
static void read_counts(char *text, size_t size)
{
	int fd = open("/proc/um_counts", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

	if (length < 0)
		fail("read /proc/um_counts");
	close(fd);
	text[length] = '\0';
}

/* Copies the kernel's account of where time went, if it keeps one. */
static void copy_profile(void)
{
	int from = open("/proc/um_profile", O_RDONLY | O_CLOEXEC), to;
	char block[4096];
	ssize_t length;

	if (from < 0)
		return;
	to = open(JOB "/guest.profile", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	while ((length = read(from, block, sizeof(block))) > 0)
		if (write(to, block, length) != length)
			fail("write guest.profile");
	close(to);
	close(from);
}

int main(int argc, char **argv)
{
	struct job job;
	long long end_ns;
	char counts[100], line[200];
	size_t i;
	int status;

	if (argc < 2) {
		errno = EINVAL;
		fail("usage: init HOME");
	}
	umask(022);
	mount_all(argv[1]);
	job = read_job();
	for (i = 0; i + 1 < job.shown.count; i += 2) {
		make_folders(job.shown.items[i]);
		mount_at("hostfs", job.shown.items[i], MS_RDONLY, job.shown.items[i + 1]);
	}
	if (sethostname("guest", 5) < 0)
		fail("sethostname");
	status = wait_for(start(&job), job.limit_ns);
	end_ns = now_ns();
	/* nothing the job left behind may write to the folder from here on */
	kill(-1, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	read_counts(counts, sizeof(counts));
	copy_profile();
	snprintf(line, sizeof(line), "exit %d %lld %s", status, end_ns, counts);
	if (write_line(JOB "/guest.end", O_CREAT | O_TRUNC, line) < 0)
		fail("write guest.end");
	power_off();
}
