// SPDX-License-Identifier: Apache-2.0

//go:build race

package recording

// stride leaves places out where each takes ten times as long.
const stride = 7
