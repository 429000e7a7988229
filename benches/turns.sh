#!/bin/sh
# Times whole turns on questions that anybody can make: the synthesizer speaks them, and `sotto bench turn` plays them.
# Takes the program. The recordings stay in target/bench/questions, so a second run only measures. About two minutes.
set -eu

sotto=$1
folder=target/bench/questions
mkdir -p "$folder"

number=10
while IFS= read -r question; do
    number=$((number + 1))
    file=$folder/$number.wav
    [ -e "$file" ] || "$sotto" --quiet say "$question" -o "$file" </dev/null
done <<QUESTIONS
What is the capital of France?
How many days are there in a week?
Tell me a short story about a fox.
Why is the sky blue?
What can I cook with rice and eggs?
Who wrote Romeo and Juliet?
What is the largest planet?
How do I make a cup of tea?
What does a carpenter do?
Name three fruits that are red.
Where do penguins live?
What is the opposite of cold?
QUESTIONS
"$sotto" bench turn "$folder" --pause-every 0 --set llm.seed=1
