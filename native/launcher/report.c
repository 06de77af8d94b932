/* What is said to the caller when something fails. */
#include "launcher.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int report_fd = -1;

void warn(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	if (report_fd < 0)
		dprintf(STDERR_FILENO, "caisson: ");
	vdprintf(report_fd < 0 ? STDERR_FILENO : report_fd, format, arguments);
	dprintf(report_fd < 0 ? STDERR_FILENO : report_fd, "\n");
	va_end(arguments);
}

_Noreturn void die(const char *what)
{
	warn("%s: %s", what, strerror(errno));
	exit(EXIT_INTERNAL);
}
