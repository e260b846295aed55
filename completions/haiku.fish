complete -c haiku -s m -l model -d 'Model to use [default: anthropic/claude-haiku-4.5]' -r -f
complete -c haiku -s s -l system -d 'System prompt' -r -f
complete -c haiku -l system-file -d 'Read the system prompt from FILE' -r -F
complete -c haiku -l max-tokens -d 'Maximum number of tokens to generate [default: 8192]' -r -f
complete -c haiku -s t -l temperature -d 'Sampling temperature, 0 to 1; not with --top-p' -r -f
complete -c haiku -l top-p -d 'Nucleus sampling, 0 to 1; not with --temperature' -r -f
complete -c haiku -l top-k -d 'Sample only from the N most likely tokens' -r -f
complete -c haiku -l metadata -d 'Request metadata, such as {"user_id": "…"}' -r -f
complete -c haiku -l messages -d 'Conversation so far: a JSON array or JSON Lines' -r -F
complete -c haiku -s a -l attach -d 'Attach an image, PDF or text file (repeatable)' -r -F
complete -c haiku -l cache-prompt -d 'Cache the prompt\'s fixed part for 5m or 1h' -r -f -a "5m\t''
1h\t''"
complete -c haiku -l schema -d 'Ask for JSON that matches the JSON Schema in FILE' -r -F
complete -c haiku -l param -d 'Set any other request property (repeatable)' -r -f
complete -c haiku -l body -d 'Send FILE as the request body, unchanged' -r -F
complete -c haiku -s g -l gateway -d 'AI Gateway to use [default: default]' -r -f
complete -c haiku -l cache-ttl -d 'Keep the reply in the gateway\'s cache this long' -r -f
complete -c haiku -l account-id -d 'Cloudflare account ID' -r -f
complete -c haiku -l token-file -d 'Read the API token from FILE' -r -F
complete -c haiku -l base-url -d 'API base URL' -r -f
complete -c haiku -l timeout -d 'Maximum total time [default: 600 seconds]' -r -f
complete -c haiku -l retries -d 'Retries on temporary errors [default: 2]' -r -f
complete -c haiku -s o -l output -d 'Write the reply to FILE, all or nothing' -r -F
complete -c haiku -l generate -d 'Print man, complete-bash, complete-zsh, complete-fish' -r -f -a "man\t''
complete-bash\t''
complete-zsh\t''
complete-fish\t''"
complete -c haiku -s H -l header -d 'Add a request header (repeatable)' -r -f
complete -c haiku -l stream -d 'Print text as it arrives [default on a terminal]'
complete -c haiku -l no-stream -d 'Print nothing until the reply is complete'
complete -c haiku -l skip-cache -d 'Bypass the gateway\'s cache'
complete -c haiku -s n -l no-stdin -d 'Do not read standard input'
complete -c haiku -l json -d 'Print the response as raw JSON'
complete -c haiku -l dry-run -d 'Print the request body without sending it'
complete -c haiku -s v -l verbose -d 'Report retries, token counts and timings on stderr'
complete -c haiku -s q -l quiet -d 'Suppress hints, warnings and progress, but not errors'
complete -c haiku -s h -l help -d 'Print help (-h: summary, --help: details)'
complete -c haiku -s V -l version -d 'Print version'
complete -c haiku -f
