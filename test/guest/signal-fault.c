/* Faults as signals, and what a handler sees and may change of the interrupted state. */
#include "observe.h"
#include <immintrin.h>
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf escape;
static volatile int signo_, code_, trap_number;
static volatile long error_code;
static void *volatile address_;
static volatile uint64_t rip_, rax_;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	ucontext_t *state = context;

	signo_ = signo;
	code_ = info->si_code;
	address_ = info->si_addr;
	trap_number = state->uc_mcontext.gregs[REG_TRAPNO];
	error_code = state->uc_mcontext.gregs[REG_ERR];
	rip_ = state->uc_mcontext.gregs[REG_RIP];
	siglongjmp(escape, 1);
}

static void catch_all(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	static const int all[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };

	for (size_t i = 0; i < LENGTH(all); i++)
		MUST(sigaction(all[i], &action, NULL));
}

#define FAULT(what, statement)                                                                          \
	do {                                                                                            \
		signo_ = 0;                                                                             \
		if (sigsetjmp(escape, 1) == 0)                                                          \
			statement;                                                                      \
		say("%s: %s code %d trap %d error %ld, address is the instruction's: %d\n", what,       \
		    signal_name(signo_), code_, trap_number, error_code, (uint64_t)address_ == rip_);   \
	} while (0)

SECTION("fault kinds: SIGFPE, SIGILL, SIGTRAP, SIGSEGV")
{
	volatile long zero = 0;

	catch_all();
	FAULT("divide by zero", __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" ::: "eax", "ecx", "edx"));
	FAULT("undefined instruction", __asm__ volatile("ud2"));
	FAULT("breakpoint", __asm__ volatile("int3"));
	FAULT("int 4", __asm__ volatile("int $4"));
	FAULT("privileged", __asm__ volatile("hlt"));
	FAULT("null write", *(volatile int *)zero = 1);
	FAULT("null read", zero = *(volatile int *)zero);
	FAULT("kernel address", zero = *(volatile int *)0xffffffff80000000);
	FAULT("jump to nowhere", ((void (*)(void))(uintptr_t)(zero + 16))());
	say("jumped to %lu\n", (unsigned long)rip_);
}

SECTION("SSE exceptions are SIGFPE with their kinds")
{
	unsigned control = _mm_getcsr();
	volatile double zero = 0.0, huge = 1e308, result;

	catch_all();
	_mm_setcsr(control & ~_MM_MASK_DIV_ZERO);
	FAULT("1/0", result = 1.0 / zero);
	_mm_setcsr(control & ~_MM_MASK_OVERFLOW);
	FAULT("overflow", result = huge * huge);
	_mm_setcsr(control & ~_MM_MASK_INVALID);
	FAULT("0/0", result = zero / zero);
	_mm_setcsr(control);
	result = 1.0 / zero;
	SHOW(result > huge);
}

SECTION("single step: SIGTRAP after each instruction")
{
	catch_all();
	FAULT("trap flag", __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" ::: "memory", "cc"));
}

SECTION("a blocked or ignored fault kills")
{
	for (int ignored = 0; ignored < 2; ignored++) {
		pid_t pid = fork();
		if (pid == 0) {
			sigset_t set;

			handle(SIGSEGV, ignored ? SIG_IGN : ignore, 0);
			sigemptyset(&set);
			sigaddset(&set, SIGSEGV);
			if (!ignored)
				sigprocmask(SIG_BLOCK, &set, NULL);
			*(volatile char *)16 = 1;
			_exit(0);
		}
		STATUS(end_of(pid));
	}
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_IGN);
		kill(getpid(), SIGSEGV);
		_exit(4);
	}
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0) {
		/* No stack to run the handler on. */
		handle(SIGSEGV, ignore, 0);
		__asm__ volatile("mov $8, %rsp; push %rax");
	}
	STATUS(end_of(pid));
	pid = fork();
	if (pid == 0) {
		handle(SIGUSR1, ignore, 0);
		__asm__ volatile("mov $8, %%rsp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi; mov $62, %%eax; syscall" ::: "memory");
	}
	STATUS(end_of(pid));
}

static void skip(int signo, siginfo_t *info, void *context)
{
	ucontext_t *state = context;

	(void)signo;
	(void)info;
	state->uc_mcontext.gregs[REG_RIP] += 2;
	state->uc_mcontext.gregs[REG_RAX] = 4711;
	state->uc_mcontext.gregs[REG_RBX] += 1;
}

static void on_no_stack(int signo)
{
	_exit(signo);
}

SECTION("a stack pointer where no memory can be ends the process that a signal is to be handled in")
{
	static const uint64_t places[] = { 0, 64, 1ull << 47, 1ull << 53, 1ull << 63, -8ull, -1ull };

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct rlimit core = { 0, 0 };

			setrlimit(RLIMIT_CORE, &core);
			signal(SIGTRAP, on_no_stack);
			__asm__ volatile("mov %0, %%rsp; int3" : : "r"(places[i]) : "memory");
		}
		STATUS(end_of(pid));
	}
}

SECTION("a handler changes registers in its ucontext")
{
	struct sigaction action = { .sa_sigaction = skip, .sa_flags = SA_SIGINFO };
	long rax = 1, rbx = 2;

	MUST(sigaction(SIGILL, &action, NULL));
	__asm__ volatile("ud2" : "+a"(rax), "+b"(rbx));
	SHOW(rax);
	SHOW(rbx);
}

static void open_page(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

SECTION("a handler opens the page and the instruction is repeated")
{
	struct sigaction action = { .sa_sigaction = open_page, .sa_flags = SA_SIGINFO };
	char *at = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(sigaction(SIGSEGV, &action, NULL));
	for (int i = 0; i < 16; i++)
		at[i * 4096] = i;
	SHOW(at[15 * 4096]);
}

static void spoil(int signo)
{
	(void)signo;
	__asm__ volatile("xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi; xor %%edi, %%edi;"
			 "xor %%r8, %%r8; xor %%r9, %%r9; xor %%r10, %%r10; xor %%r11, %%r11; std; cld; stc"
			 ::: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc");
	__asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15"
			 ::: "xmm0", "xmm1", "xmm7", "xmm15");
	_mm_setcsr(_mm_getcsr() ^ _MM_ROUND_UP);
}

SECTION("a handler leaves general and SSE registers and MXCSR alone")
{
	unsigned long in[9] = { 11, 12, 13, 14, 15, 16, 17, 18, 19 }, out[9];
	double values[4] = { 1.5, 2.5, 3.5, 4.5 }, after[4];
	unsigned control = _mm_getcsr();
	int pid = getpid();

	handle(SIGUSR1, spoil, 0);
	__asm__ volatile("movsd 0(%0), %%xmm0; movsd 8(%0), %%xmm1; movsd 16(%0), %%xmm7; movsd 24(%0), %%xmm15\n"
			 "mov $62, %%eax; mov %2, %%edi; mov $10, %%esi; syscall\n"
			 "movsd %%xmm0, 0(%1); movsd %%xmm1, 8(%1); movsd %%xmm7, 16(%1); movsd %%xmm15, 24(%1)\n"
			 :: "r"(values), "r"(after), "r"(pid)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory", "xmm0", "xmm1", "xmm7", "xmm15");
	for (int i = 0; i < 4; i++)
		SHOW(after[i] * 10);
	SHOW(_mm_getcsr() == control);
	__asm__ volatile("mov 0(%0), %%r8; mov 8(%0), %%r9; mov 16(%0), %%r10; mov 24(%0), %%r12; mov 32(%0), %%r13\n"
			 "mov %2, %%edi; mov $10, %%esi; mov 40(%0), %%rdx\n"
			 "mov $62, %%eax; syscall\n"
			 "mov %%r8, 0(%1); mov %%r9, 8(%1); mov %%r10, 16(%1); mov %%r12, 24(%1); mov %%r13, 32(%1)\n"
			 "mov %%rdx, 40(%1); mov %%rax, 48(%1); mov %%rsi, 56(%1)"
			 :: "r"(in), "r"(out), "r"(pid)
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "memory");
	for (int i = 0; i < 8; i++)
		SHOW(out[i]);
}

SECTION("system calls preserve all registers but rax, rcx and r11")
{
	unsigned long out[8];

	__asm__ volatile("mov $1, %%edi; mov $2, %%esi; mov $3, %%edx; mov $4, %%r10d; mov $5, %%r8d; mov $6, %%r9d\n"
			 "mov $110, %%eax; syscall\n"
			 "mov %%rdi, 0(%0); mov %%rsi, 8(%0); mov %%rdx, 16(%0); mov %%r10, 24(%0); mov %%r8, 32(%0); mov %%r9, 40(%0)\n"
			 "lea 1f(%%rip), %%rdx; stc; mov $110, %%eax; syscall\n"
			 "1: setc %%al; sub %%rdx, %%rcx; mov %%rcx, 48(%0); and $1, %%eax; mov %%rax, 56(%0)"
			 :: "r"(out) : "rax", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	for (int i = 0; i < 8; i++)
		SHOW(out[i]);
}

static void __attribute__((target("avx"))) spoil_avx(int signo)
{
	(void)signo;
	_mm256_zeroall();
}

__attribute__((target("avx"))) static void avx_test(void)
{
	double values[4] = { 1, 2, 3, 4 }, after[4];
	int pid = getpid();

	handle(SIGUSR1, spoil_avx, 0);
	__asm__ volatile("vmovupd (%0), %%ymm3; mov $62, %%eax; mov %2, %%edi; mov $10, %%esi; syscall; vmovupd %%ymm3, (%1)"
			 :: "r"(values), "r"(after), "r"(pid) : "rax", "rdi", "rsi", "rcx", "r11", "memory", "xmm3");
	for (int i = 0; i < 4; i++)
		SHOW(after[i]);
}

SECTION("a handler leaves AVX registers alone")
{
	if (__builtin_cpu_supports("avx"))
		avx_test();
}

static void __attribute__((target("avx512f"))) spoil_avx512(int signo)
{
	(void)signo;
	__asm__ volatile("vpxorq %%zmm20, %%zmm20, %%zmm20; kxnorw %%k1, %%k1, %%k1" ::: "memory");
}

__attribute__((target("avx512f"))) static void avx512_test(void)
{
	uint64_t values[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, after[8], mask = 0x55;
	int pid = getpid();

	handle(SIGUSR1, spoil_avx512, 0);
	__asm__ volatile("vmovdqu64 (%0), %%zmm20; kmovw (%3), %%k1; mov $62, %%eax; mov %2, %%edi; mov $10, %%esi; syscall;"
			 "vmovdqu64 %%zmm20, (%1); kmovw %%k1, (%3)"
			 :: "r"(values), "r"(after), "r"(pid), "r"(&mask) : "rax", "rdi", "rsi", "rcx", "r11", "memory");
	SHOW(after[0] + after[7]);
	HEX(mask & 0xffff);
}

SECTION("a handler leaves AVX-512 registers alone")
{
	if (__builtin_cpu_supports("avx512f"))
		avx512_test();
}

static void change_sse(int signo, siginfo_t *info, void *context)
{
	ucontext_t *state = context;
	double value = 42;

	(void)signo;
	(void)info;
	memcpy(&state->uc_mcontext.fpregs->_xmm[5], &value, sizeof value);
}

SECTION("a handler changes SSE registers in its ucontext")
{
	struct sigaction action = { .sa_sigaction = change_sse, .sa_flags = SA_SIGINFO };
	double before = 1, after = 0;
	int pid = getpid();

	MUST(sigaction(SIGUSR1, &action, NULL));
	__asm__ volatile("movsd (%0), %%xmm5; mov $62, %%eax; mov %2, %%edi; mov $10, %%esi; syscall; movsd %%xmm5, (%1)"
			 :: "r"(&before), "r"(&after), "r"(pid) : "rax", "rdi", "rsi", "rcx", "r11", "memory", "xmm5");
	SHOW(after);
}

static volatile long ticks;

static void tick(int signo)
{
	spoil(signo);
	ticks++;
}

SECTION("timer signals at any instruction disturb no computation")
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	double sum = 0;
	uint64_t hash = 1;
	long start = now_ms();

	handle(SIGALRM, tick, SA_RESTART);
	setitimer(ITIMER_REAL, &timer, NULL);
	int rounds = 0, wrong = 0;
	while (ticks < 50 && now_ms() - start < 8000) {
		sum = 0;
		hash = 1;
		for (int i = 1; i < 20000; i++) {
			sum += 1.0 / i;
			hash = hash * 6364136223846793005ull + i;
		}
		static uint64_t first_hash;
		static double first_sum;
		if (!rounds) {
			first_hash = hash;
			first_sum = sum;
		}
		wrong += hash != first_hash || sum != first_sum;
		rounds++;
	}
	SHOW(ticks >= 50);
	SHOW(wrong);
}

static sigjmp_buf again;

static void jump(int signo)
{
	(void)signo;
	siglongjmp(again, 1);
}

SECTION("siglongjmp out of handlers, many times, with the mask restored")
{
	static volatile int rounds;
	sigset_t set;

	handle(SIGUSR1, jump, 0);
	if (sigsetjmp(again, 1) < 100 && rounds < 100) {
		rounds++;
		raise(SIGUSR1);
	}
	SHOW(rounds);
	sigprocmask(SIG_BLOCK, NULL, &set);
	SHOW(sigismember(&set, SIGUSR1));
}

static ucontext_t first, second;
static char context_stack[65536];

static void in_context(void)
{
	say("in the other context\n");
	swapcontext(&second, &first);
	say("again\n");
}

SECTION("getcontext, makecontext, swapcontext")
{
	getcontext(&second);
	second.uc_stack.ss_sp = context_stack;
	second.uc_stack.ss_size = sizeof context_stack;
	second.uc_link = &first;
	makecontext(&second, in_context, 0);
	swapcontext(&first, &second);
	say("back\n");
	swapcontext(&first, &second);
	say("ended\n");
}

static volatile int steps;

static void count_step(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	steps++;
	code_ = info->si_code;
}

#define STEP_ON "pushfq\n orq $0x100, (%%rsp)\n popfq\n"
#define STEP_OFF "pushfq\n andq $~0x100, (%%rsp)\n popfq\n"

SECTION("a program steps through itself, calls and the C library included")
{
	struct sigaction action = { .sa_sigaction = count_step, .sa_flags = SA_SIGINFO };
	pid_t parent = 0;

	for (int i = 0; i < 100; i++)
		parent = getppid();
	sigaction(SIGTRAP, &action, NULL);
	__asm__ volatile("subq $128, %%rsp\n" STEP_ON "nop\n nop\n nop\n" STEP_OFF "addq $128, %%rsp\n" : : : "memory", "cc");
	SHOW(steps);
	SHOW(code_ == TRAP_TRACE);
	__asm__ volatile("subq $128, %%rsp\n" STEP_ON "addq $128, %%rsp\n" : : : "memory", "cc");
	bool same = getppid() == parent && lseek(99, 0, SEEK_SET) == -1;
	__asm__ volatile("subq $128, %%rsp\n" STEP_OFF "addq $128, %%rsp\n" : : : "memory", "cc");
	SHOW(same);
	SHOW(steps > 20);
	SHOW(getppid() == parent);
}
