#!/bin/sh
# Writes the files of this folder anew, with ffmpeg: 0.4 s of a tone of 440 Hz, at an eighth of full scale and 16 kHz.
set -eu

cd "$(dirname "$0")"
make() {
    ffmpeg -v error -y -f lavfi -i sine=frequency=440:sample_rate=16000:duration=0.4 -fflags +bitexact -flags +bitexact "$@"
}

make -c:a adpcm_ima_wav adpcm-ima.wav
make -c:a adpcm_ms adpcm-ms.wav
make -c:a pcm_alaw a-law.wav
make -c:a pcm_mulaw mu-law.wav
make tone.aiff
make tone.caf
make -c:a alac alac.caf
make -c:a flac tone.flac
make -c:a flac -f ogg flac.ogg
make -c:a flac flac.mkv
make -c:a mp2 tone.mp2
make -b:a 32k tone.mp3
make -c:a aac -b:a 32k -f adts tone.aac
make -c:a aac -b:a 32k tone.m4a
make -c:a aac -b:a 32k -movflags frag_keyframe+empty_moov fragments.mp4
make -c:a alac alac.m4a
make -c:a libvorbis vorbis.ogg
make -c:a libvorbis vorbis.webm
make -c:a libopus opus.ogg
make -c:a libopus opus.webm
make -c:a ac3 ac3.mkv
make -c:a libmp3lame -b:a 32k mp3.wav
make -f w64 tone.w64
