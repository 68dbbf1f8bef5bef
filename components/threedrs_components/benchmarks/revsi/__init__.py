"""ReVSI: VSI-Bench's kinds of question, asked anew about clips whose frames are fixed."""
