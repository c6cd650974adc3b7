// SPDX-License-Identifier: Apache-2.0

package api

// PathRecord streams a recording of what the daemon measures, is given and
// decides, in the format that docs/RECORDING.md describes.
const PathRecord = "/v1/record"

// RecordingType is the media type of a recording.
const RecordingType = "application/x-autosa-recording"
