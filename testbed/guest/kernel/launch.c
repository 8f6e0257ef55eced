// SPDX-License-Identifier: Apache-2.0
/*
 * Confines a guest's host process and everything that it starts, then starts it.
 *
 *	launch OPTION... -- PROGRAM ARGUMENT...
 *
 * It does exactly what its options ask for, or fails with a line on standard
 * error and exit status 125; confinement.py decides what is asked for.
 *
 *   --parent PID	end at once if this is not the parent (which has died)
 *   --cpu N		run on this processor only
 *   --namespaces	own mounts, processes, network and System V IPC: only the
 *			paths below exist, and no process or socket outside does
 *   --own-users	make the namespaces as an ordinary user, in a user namespace
 *   --user ID		become this user and group, which have no other process
 *   --keep-rights	keep capabilities and the user, to try what would happen
 *   --landlock ABI	forbid everything that Landlock of this version can forbid,
 *			except access to the paths below
 *   --limit NAME=N	set a resource limit, hard and soft: processes, files, bytes
 *			(of one file)
 *   --read PATH	what is below PATH can be read and executed
 *   --write PATH	what is below PATH can be read, written and removed
 *   --memory PATH=N	as --write; with namespaces it is a fresh tmpfs of N bytes
 *
 * "launch --version" does nothing, with status 0, to see if it can be started.
 *
 * Paths are absolute and in order, each after the folders in which it lies.
 * Without --namespaces, Landlock alone keeps other paths away.
 *
 * The process that is started by this program's user stays outside and waits,
 * with the user's rights. On SIGTERM it kills all others and waits for their
 * end; when it dies itself, the kernel kills them. With namespaces, the second
 * process is the first of its process namespace (the kernel kills all others
 * when it ends), and the third becomes PROGRAM. Whatever is confined has no
 * capabilities and cannot gain privileges.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 125
#define MOST_PATHS 64

/* What older headers lack; numbers and layouts are those of Linux on x86-64. */
#define NR_open_tree 428
#define NR_move_mount 429
#define NR_close_range 436
#define NR_mount_setattr 442
#define NR_landlock_create_ruleset 444
#define NR_landlock_add_rule 445
#define NR_landlock_restrict_self 446
#define TREE_CLONE 1
#define TREE_CLOEXEC O_CLOEXEC
#define RECURSIVE 0x8000
#define MOVE_EMPTY_PATH 4
#define ATTR_RDONLY 1
#define ATTR_NOSUID 2
#define ATTR_NODEV 4

struct mount_attributes {
	uint64_t set, clear, propagation, userns_fd;
};

/* Landlock's rights to files (linux/landlock.h) */
#define L_EXECUTE (1ULL << 0)
#define L_WRITE_FILE (1ULL << 1)
#define L_READ_FILE (1ULL << 2)
#define L_READ_DIR (1ULL << 3)
#define L_REMOVE_AND_MAKE (0x1ff0ULL)	/* bits 4 to 12 */
#define L_MAKE_CHAR (1ULL << 6)
#define L_MAKE_BLOCK (1ULL << 11)
#define L_REFER (1ULL << 13)	/* since ABI 2 */
#define L_TRUNCATE (1ULL << 14)	/* 3 */
#define L_IOCTL_DEV (1ULL << 15)	/* 5 */
#define L_OF_FILES (L_EXECUTE | L_WRITE_FILE | L_READ_FILE | L_TRUNCATE)
#define L_NET 3ULL	/* 4: TCP bind and connect */
#define L_SCOPES 3ULL	/* 6: abstract sockets and signals */

struct landlock_ruleset {
	uint64_t files, net, scopes;
};

struct landlock_path {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

enum kind { READ, WRITE, MEMORY, DEVICE };

struct path {
	enum kind kind;
	const char *name;
	unsigned long long bytes;	/* of MEMORY */
	int tree;			/* its mounts, cloned */
	char link[4096];		/* where it leads, if it is a symbolic link */
};

static struct options {
	long parent, cpu, user, landlock;
	int namespaces, own_users, keep_rights;
	struct { int which; rlim_t value; } limits[8];
	size_t limit_count;
	struct path paths[MOST_PATHS + 8];
	size_t path_count;
} options = { .parent = -1, .cpu = -1, .user = -1 };

static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
	const char *why = strerror(errno);
	va_list args;

	fprintf(stderr, "launch: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", why);
	exit(FAILED);
}

/* Parsing */

static _Noreturn void misused(const char *what)
{
	errno = EINVAL;
	fail("%s", what);
}

static long number(const char *text)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *end || end == text || value < 0)
		misused(text);
	return value;
}

static void add_path(enum kind kind, char *name)
{
	struct path *path = &options.paths[options.path_count];

	if (options.path_count == MOST_PATHS)
		misused("too many paths");
	if (kind == MEMORY) {
		char *size = strrchr(name, '=');

		if (!size)
			misused(name);
		*size = '\0';
		path->bytes = number(size + 1);
	}
	if (name[0] != '/')
		misused(name);
	path->kind = kind;
	path->name = name;
	options.path_count++;
}

static void add_limit(char *text)
{
	static const struct { const char *name; int which; } known[] = {
		{ "processes", RLIMIT_NPROC }, { "files", RLIMIT_NOFILE }, { "bytes", RLIMIT_FSIZE },
	};
	char *value = strchr(text, '=');
	size_t i;

	if (!value || options.limit_count == sizeof(options.limits) / sizeof(*options.limits))
		misused(text);
	*value = '\0';
	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(text, known[i].name)) {
			options.limits[options.limit_count].which = known[i].which;
			options.limits[options.limit_count++].value = number(value + 1);
			return;
		}
	misused(text);
}

static void take(const char *name, char *value)
{
	if (!strcmp(name, "--read"))
		add_path(READ, value);
	else if (!strcmp(name, "--write"))
		add_path(WRITE, value);
	else if (!strcmp(name, "--memory"))
		add_path(MEMORY, value);
	else if (!strcmp(name, "--limit"))
		add_limit(value);
	else if (!strcmp(name, "--parent"))
		options.parent = number(value);
	else if (!strcmp(name, "--cpu"))
		options.cpu = number(value);
	else if (!strcmp(name, "--user"))
		options.user = number(value);
	else if (!strcmp(name, "--landlock"))
		options.landlock = number(value);
	else
		misused(name);
}

static char **parse(char **argv)
{
	for (argv++; *argv && strcmp(*argv, "--"); argv++) {
		if (!strcmp(*argv, "--namespaces"))
			options.namespaces = 1;
		else if (!strcmp(*argv, "--own-users"))
			options.own_users = 1;
		else if (!strcmp(*argv, "--keep-rights"))
			options.keep_rights = 1;
		else if (argv[1])
			take(*argv, argv[1]), argv++;
		else
			misused(*argv);
	}
	if (!*argv || !argv[1])
		misused("no program");
	return argv + 1;
}

/* Small things */

static void write_file(const char *path, const char *text, int must)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if ((fd < 0 || write(fd, text, strlen(text)) < 0) && must)
		fail("write %s", path);
	if (fd >= 0)
		close(fd);
}

static void pin(long cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("run on processor %ld", cpu);
}

static void die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("die with the parent");
}

/* Limits that are not below those that are already set stay as they are. */
static void limit(void)
{
	struct rlimit none = { 0, 0 }, now;
	size_t i;

	setrlimit(RLIMIT_CORE, &none);
	signal(SIGXFSZ, SIG_IGN);	/* a file that grows too large is an error, not the end */
	write_file("/proc/self/oom_score_adj", "1000", 0);
	for (i = 0; i < options.limit_count; i++) {
		int which = options.limits[i].which;

		if (getrlimit(which, &now) < 0)
			fail("limit");
		if (options.limits[i].value < now.rlim_max)
			now.rlim_max = options.limits[i].value;
		now.rlim_cur = now.rlim_max;
		if (setrlimit(which, &now) < 0)
			fail("limit");
	}
}

/* Namespaces */

static void enter_namespaces(void)
{
	int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (unshare(flags | (options.own_users ? CLONE_NEWUSER : 0)) < 0)
		fail("enter new namespaces");
	if (!options.own_users)
		return;
	write_file("/proc/self/setgroups", "deny", 1);
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	write_file("/proc/self/uid_map", map, 1);
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	write_file("/proc/self/gid_map", map, 1);
}

/* Takes the mounts at a path before the new root hides them. */
static void take_tree(struct path *path)
{
	struct mount_attributes attributes = { .set = ATTR_NOSUID };
	struct stat st;
	ssize_t length;

	if (path->kind == MEMORY)
		return;
	if (lstat(path->name, &st) < 0)
		fail("show %s", path->name);
	if (S_ISLNK(st.st_mode)) {
		length = readlink(path->name, path->link, sizeof(path->link) - 1);
		if (length < 0)
			fail("show %s", path->name);
		path->link[length] = '\0';
		return;
	}
	path->tree = syscall(NR_open_tree, AT_FDCWD, path->name,
			     TREE_CLONE | TREE_CLOEXEC | RECURSIVE);
	if (path->tree < 0)
		fail("show %s", path->name);
	if (path->kind != DEVICE)
		attributes.set |= ATTR_NODEV;
	if (path->kind == READ)
		attributes.set |= ATTR_RDONLY;
	if (syscall(NR_mount_setattr, path->tree, "", AT_EMPTY_PATH | RECURSIVE,
		    &attributes, sizeof(attributes)) < 0)
		fail("restrict %s", path->name);
}

static void make_folder(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail("make the folder /%s", path);
}

/* Makes the folders above a path, and with `whole` the path itself. */
static void make_folders(const char *path, int whole)
{
	char part[4096];
	size_t i;

	if (strlen(path) >= sizeof(part))
		misused("a path is too long");
	for (i = 1; path[i]; i++)
		if (path[i] == '/') {
			memcpy(part, path, i);
			part[i] = '\0';
			make_folder(part);
		}
	if (whole)
		make_folder(path);
}

static void place(struct path *path)
{
	const char *name = path->name + 1;	/* from the new root, the working folder */
	char size[64];
	struct stat st;
	int fd;

	if (path->kind == MEMORY) {
		make_folders(name, 1);
		snprintf(size, sizeof(size), "mode=1777,size=%llu", path->bytes);
		if (mount("tmpfs", name, "tmpfs", MS_NOSUID | MS_NODEV, size) < 0)
			fail("mount memory at %s", path->name);
		return;
	}
	if (path->link[0]) {
		make_folders(name, 0);
		if (symlink(path->link, name) < 0 && errno != EEXIST)
			fail("show %s", path->name);
		return;
	}
	if (fstat(path->tree, &st) < 0)
		fail("show %s", path->name);
	make_folders(name, S_ISDIR(st.st_mode));
	if (!S_ISDIR(st.st_mode)) {
		fd = open(name, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			fail("show %s", path->name);
		close(fd);
	}
	if (syscall(NR_move_mount, path->tree, "", AT_FDCWD, name, MOVE_EMPTY_PATH) < 0)
		fail("show %s", path->name);
	close(path->tree);
}

/* Makes a root that has the given paths and nothing else, and enters it. */
static void enter_view(void)
{
	static const char *const folders[] = { "proc", "sys", "dev", "run", "tmp", "var", "var/tmp" };
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					       "/dev/urandom" };
	size_t i;

	for (i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		options.paths[options.path_count].kind = DEVICE;
		options.paths[options.path_count++].name = devices[i];
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("make the mounts private");
	for (i = 0; i < options.path_count; i++)
		take_tree(&options.paths[i]);
	if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0 ||
	    chdir("/tmp") < 0)
		fail("mount a new root");
	for (i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		make_folder(folders[i]);
	if (symlink("/run", "var/run") < 0 || symlink("/run/lock", "var/lock") < 0)
		fail("make /var");
	/* while the old one is there, without which a user namespace may mount none */
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		fail("mount /proc");
	for (i = 0; i < options.path_count; i++)
		place(&options.paths[i]);
	if (options.own_users)	/* what is confined needs no namespaces of its own */
		write_file("proc/sys/user/max_user_namespaces", "0", 0);
	if (mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
		fail("make the new root read-only");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		fail("enter the new root");
}

/* Rights */

static void drop_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	int i;

	/* The first two need a capability that only root and the owner of a namespace have. */
	for (i = 0; i < 64; i++)
		prctl(PR_CAPBSET_DROP, i);
	prctl(PR_SET_SECUREBITS, 0xff);	/* no privileges for user 0, and all locked */
	if (options.user >= 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(options.user, options.user, options.user) < 0 ||
	     setresuid(options.user, options.user, options.user) < 0))
		fail("become user %ld", options.user);
	if (syscall(SYS_capset, &header, none) < 0)
		fail("drop the capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("forbid new privileges");
}

static void allow(int rules, const char *name, uint64_t rights)
{
	struct landlock_path rule = { .allowed = rights };
	struct stat st;

	rule.fd = open(name, O_PATH | O_CLOEXEC);
	if (rule.fd < 0 || fstat(rule.fd, &st) < 0)
		fail("allow %s", name);
	if (!S_ISDIR(st.st_mode))
		rule.allowed &= L_OF_FILES;
	if (syscall(NR_landlock_add_rule, rules, 1, &rule, 0) < 0)
		fail("allow %s", name);
	close(rule.fd);
}

static void restrict_with_landlock(void)
{
	long abi = options.landlock;
	uint64_t read = L_EXECUTE | L_READ_FILE | L_READ_DIR, all, write;
	struct landlock_ruleset set;
	size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8, i;
	int rules;

	all = read | L_WRITE_FILE | L_REMOVE_AND_MAKE;
	all |= (abi >= 2 ? L_REFER : 0) | (abi >= 3 ? L_TRUNCATE : 0) | (abi >= 5 ? L_IOCTL_DEV : 0);
	write = all & ~(L_EXECUTE | L_MAKE_CHAR | L_MAKE_BLOCK | L_IOCTL_DEV);
	set = (struct landlock_ruleset){ all, L_NET, L_SCOPES };
	rules = syscall(NR_landlock_create_ruleset, &set, size, 0);
	if (rules < 0)
		fail("make Landlock's rules (version %ld)", abi);
	for (i = 0; i < options.path_count; i++)
		allow(rules, options.paths[i].name, options.paths[i].kind == READ ? read : write);
	if (options.namespaces) {
		allow(rules, "/", L_READ_DIR);	/* it has what it may see and nothing else */
		allow(rules, "/proc", L_READ_FILE | L_READ_DIR | L_EXECUTE);
	} else {
		allow(rules, "/proc/cpuinfo", L_READ_FILE);
		allow(rules, "/dev/null", L_READ_FILE | L_WRITE_FILE);
	}
	if (syscall(NR_landlock_restrict_self, rules, 0) < 0)
		fail("restrict with Landlock");
	close(rules);
}

/* Processes */

static int status_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static _Noreturn void become(char **argv, const sigset_t *before)
{
	sigprocmask(SIG_SETMASK, before, NULL);
	setsid();
	execv(argv[0], argv);
	fail("start %s", argv[0]);
}

/* The first process of a namespace: waits for everything that ends in it. */
static _Noreturn void wait_in_namespace(pid_t program)
{
	int status;
	pid_t pid;

	while ((pid = wait(&status)) != program)
		if (pid < 0 && errno != EINTR)
			fail("wait");
	_exit(status_of(status));
}

static _Noreturn void confine(char **argv, const sigset_t *before)
{
	pid_t program;

	die_with_parent();
	if (options.namespaces)
		enter_view();
	limit();
	if (!options.keep_rights)
		drop_rights();
	die_with_parent();	/* a change of the user has undone it */
	if (options.landlock)
		restrict_with_landlock();
	if (!options.namespaces)
		become(argv, before);
	program = fork();
	if (program < 0)
		fail("fork");
	if (!program)
		become(argv, before);
	wait_in_namespace(program);
}

/* The process outside: waits for the confined ones, and ends them on SIGTERM. */
static _Noreturn void supervise(pid_t child, const sigset_t *signals)
{
	int status, got;

	for (;;) {
		got = sigwaitinfo(signals, NULL);
		if (got == SIGTERM) {
			kill(child, SIGKILL);
			if (!options.namespaces)
				kill(-child, SIGKILL);
		}
		if (waitpid(child, &status, WNOHANG) == child)
			_exit(status_of(status));
	}
}

int main(int argc, char **argv)
{
	sigset_t signals, before;
	char **program;
	int alive[2];
	pid_t child;

	if (argc == 2 && !strcmp(argv[1], "--version"))
		return 0;
	program = parse(argv);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &before);
	sigdelset(&before, SIGTERM);
	sigdelset(&before, SIGCHLD);
	die_with_parent();
	if (options.parent >= 0 && getppid() != options.parent)
		return FAILED;
	syscall(NR_close_range, 3, ~0U, 0);
	pin(options.cpu);
	if (options.namespaces)
		enter_namespaces();
	if (pipe2(alive, O_CLOEXEC) < 0)
		fail("make a pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (child) {
		close(alive[0]);
		supervise(child, &signals);
	}
	close(alive[1]);
	confine(program, &before);
}
