complete -c haiku -s m -l model -d 'Model to ask [default: anthropic/claude-haiku-4.5]' -r
complete -c haiku -s s -l system -d 'System message' -r
complete -c haiku -l max-tokens -d 'End the reply after N tokens [default: 8192]' -r
complete -c haiku -s t -l temperature -d 'Randomness, from 0 to 1; not together with --top-p' -r
complete -c haiku -l top-p -d 'Nucleus sampling, from 0 to 1; not together with --temperature' -r
complete -c haiku -l top-k -d 'Sample from the N likeliest tokens' -r
complete -c haiku -l messages -d 'Conversation so far, a JSON array or JSON Lines; - is standard input' -r -F
complete -c haiku -l param -d 'Any other property of the request (repeatable)' -r
complete -c haiku -s a -l attach -d 'Image (png, jpeg, gif, webp) or pdf to send before the text (repeatable)' -r -F
complete -c haiku -l schema -d 'Have the reply be JSON of the JSON Schema in FILE' -r -F
complete -c haiku -s g -l gateway -d 'Gateway to go through [default: default]' -r
complete -c haiku -l cache-ttl -d 'Let the gateway keep the reply in its cache so long' -r
complete -c haiku -s H -l header -d 'Send this header too (repeatable)' -r
complete -c haiku -l account-id -d 'Cloudflare account' -r
complete -c haiku -l token-file -d 'File that holds the API token' -r -F
complete -c haiku -l base-url -d 'Where the API is [default: https://api.cloudflare.com/client/v4]' -r -f
complete -c haiku -l timeout -d 'Give up after so long [default: 600]' -r
complete -c haiku -l retries -d 'Try again so often where that may help [default: 2]' -r
complete -c haiku -s o -l output -d 'Write the reply to FILE, whole or not at all; - is standard output' -r -F
complete -c haiku -l stream -d 'Write the reply as it comes [default: only text to a terminal]'
complete -c haiku -l no-stream -d 'Write the reply once it is whole [default: but for text to a terminal]'
complete -c haiku -l skip-cache -d 'Never take the reply from the gateway\'s cache'
complete -c haiku -s n -l no-stdin -d 'Leave standard input alone, in loops, hooks and daemons'
complete -c haiku -l json -d 'Write the response as it came, not its text'
complete -c haiku -l dry-run -d 'Print the request\'s body and stop: no account, no network'
complete -c haiku -s v -l verbose -d 'Say on standard error what happened'
complete -c haiku -s q -l quiet -d 'No hints and no warnings; errors remain'
complete -c haiku -s h -l help -d 'Print a short help with -h, a long one with --help'
complete -c haiku -s V -l version -d 'Print the version'
