// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

// didYouMean returns " (did you mean …?)" when one of the words is close to s,
// else nothing.
func didYouMean(s string, words []string) string {
	best, least := "", max(2, len(s)/3)+1
	for _, w := range words {
		d := distance(s, w)
		// "collection_interval" is a beginning of "collection_interval_secs".
		if len(s) >= 4 && (strings.HasPrefix(w, s) || strings.HasSuffix(w, s)) {
			d = min(d, 2)
		}
		if d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is the number of single-character edits, with swaps of neighbours as
// one, that turn a into b. Words of more than 64 bytes are far from everything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
