/* SPDX-License-Identifier: Apache-2.0 */
/* report_page: page.html with the charts' library and the result put in; it needs nothing else. */
#include "programs/load/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Made from page.html and chart.js by tools/embed.py. */
extern const unsigned char pc_load_page[], pc_load_chart[];
extern const size_t pc_load_page_bytes, pc_load_chart_bytes;

/* Copy the page up to `mark`; what follows the mark, NULL: there is none. */
static const char *part_write(FILE *file, const char *from, const char *mark)
{
    const char *at = strstr(from, mark);
    if (at == NULL) {
        return NULL;
    }
    fwrite(from, 1, (size_t)(at - from), file);
    return at + strlen(mark);
}

int pc_load_report_page(const char *path, json_t *value)
{
    /* Escaped slashes: no text in the result can end the script that holds it. */
    char *text = json_dumps(value, JSON_COMPACT | JSON_ESCAPE_SLASH | JSON_REAL_PRECISION(9));
    FILE *file = text == NULL ? NULL : fopen(path, "we");
    if (file == NULL) {
        const int error = text == NULL ? -ENOMEM : -errno;
        free(text);
        return error;
    }
    const char *rest = part_write(file, (const char *)pc_load_page, "/*CHART*/");
    if (rest != NULL) {
        fwrite(pc_load_chart, 1, pc_load_chart_bytes, file);
        rest = part_write(file, rest, "/*RESULT*/");
    }
    if (rest != NULL) {
        fputs(text, file);
        fputs(rest, file);
    }
    free(text);
    const bool whole = rest != NULL && ferror(file) == 0;
    return fclose(file) == 0 && whole ? 0 : -EIO;
}
