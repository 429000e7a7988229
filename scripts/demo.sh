#!/bin/sh
# Shows what Sotto does without a microphone: answers a recording of a person, then a question that the synthesizer
# speaks. Takes the program. Writes its sound files to target/demo.
set -eu

sotto=$1
recording=$("$sotto" models path speech-sample speech.wav)
folder=target/demo
mkdir -p "$folder"

cat <<TEXT

1. A person reads a line of Samuel Beckett aloud, on a recording. Sotto transcribes and answers it.
   (It is no question, so do not expect much of the answer.)
TEXT
"$sotto" --quiet once --whole "$recording" -o "$folder/reply.wav"

cat <<TEXT

2. A question. A synthetic voice asks it, the same one that answers.
TEXT
"$sotto" --quiet say "What is the capital of France?" -o "$folder/question.wav"

cat <<TEXT
   Sotto listens to it at the pace of speech and answers. The times count from the last sample of speech.
TEXT
"$sotto" once --realtime "$folder/question.wav" -o "$folder/answer.wav"

cat <<TEXT
  turn decided       the silence was long enough: the question is over
  transcript         the transcriber has written the question
  first token        the language model has begun the answer
  first sentence     the first piece of the answer goes to the synthesizer
  first sound made   the synthesizer has the first chunk of sound
  first sound heard  the first sample that a listener would hear
  last token         the language model is done
  answer complete    all sound has been played

Sotto works ahead of the decision, so a transcript may come before it.
Listen: $folder/reply.wav, $folder/question.wav, $folder/answer.wav
TEXT
